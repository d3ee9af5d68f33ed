"""Make a table or a figure: ``python evaluate.py --config table1.yaml [key=value ...]``.

Every experiment is a dataclass and a function ``run(config) -> dict of figures``, or ``run(config, train)`` where nets
are trained for it; which ones there are stands in ``conf/schema.py``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf import EXPERIMENTS, TRAININGS, Loaded, load_config
from conf.command_line import run_command
from conf.errors import user_errors
from conf.run_folder import LAST_CHECKPOINT, make_writable, versions_of, write_provenance
from conf.schema import import_object
from rover.evaluation.cache import digest
from rover.evaluation.page import build_index


def evaluate(loaded: Loaded) -> Any:
    """Run one experiment from a validated config.

    A config with an ``output_dir`` gets ``config.yaml`` and ``versions.json`` written there beside the results, and the
    page of all results, ``index.html``, is built in the folder above it.

    Raises:
        UserError: if the input (a weights file, a folder, a cache) is wrong.
    """
    folder = getattr(loaded.config, "output_dir", None)
    if folder is not None:
        make_writable(Path(folder))
        write_provenance(Path(folder), loaded.resolved, getattr(loaded.config, "seed", 0))
    experiment = EXPERIMENTS[loaded.task]
    with user_errors(loaded.task):
        run = import_object(experiment.run)
    figures = run(loaded.config, train_once) if experiment.trains else run(loaded.config)
    if folder is not None and (Path(folder) / "summary.json").is_file():
        print(f"summary: {Path(folder) / 'summary.md'}, page: {build_index(Path(folder).parent)}")
    return figures


def train_once(yaml: str, overrides: Sequence[str], folder: Path) -> dict[str, float]:
    """The figures of a training, which is run at most once for each config in a folder.

    Args:
        yaml: a training's YAML.
        overrides: ``key=value`` words.
        folder: where each training has a folder of its own, with ``net.safetensors`` and ``figures.json`` once it is
            finished; one that was interrupted goes on from its last checkpoint.

    Raises:
        UserError: if the YAML or an override is wrong.
    """
    from train import train  # Lightning is needed by experiments that train, and by no other

    loaded = load_config(yaml, overrides, TRAININGS)
    home = folder / digest(loaded.resolved)
    finished = home / "figures.json"
    if finished.is_file():
        return json.loads(finished.read_text())
    config = loaded.config
    config.log_dir, config.export.path = str(home), str(home / "net.safetensors")
    config.resume = "last" if any((run / LAST_CHECKPOINT).is_file() for run in versions_of(home)) else None
    figures = train(config)
    partial = finished.with_suffix(".partial")
    partial.write_text(json.dumps(figures, indent=1) + "\n")
    partial.replace(finished)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command("evaluate.py", "Make a table or a figure of docs/results.md.", EXPERIMENTS, evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
