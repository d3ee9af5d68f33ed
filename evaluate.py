"""Make a table or a figure: ``python evaluate.py --config table1.yaml [key=value ...]``.

Every experiment is a dataclass and a function ``run(config) -> dict of figures``; which ones there are stands in
``conf/schema.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf import EXPERIMENTS, Loaded
from conf.command_line import run_command
from conf.errors import user_errors
from conf.run_folder import make_writable, write_provenance
from conf.schema import import_object


def evaluate(loaded: Loaded) -> Any:
    """Run one experiment from a validated config.

    A config with an ``output_dir`` gets ``config.yaml`` and ``versions.json`` written there beside the results.

    Raises:
        UserError: if the input (a weights file, a folder, a cache) is wrong.
    """
    folder = getattr(loaded.config, "output_dir", None)
    if folder is not None:
        make_writable(Path(folder))
        write_provenance(Path(folder), loaded.resolved, getattr(loaded.config, "seed", 0))
    with user_errors(loaded.task):
        run = import_object(EXPERIMENTS[loaded.task].run)
    return run(loaded.config)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command("evaluate.py", "Make a table or a figure of docs/results.md.", EXPERIMENTS, evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
