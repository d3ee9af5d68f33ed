"""The command line that ``train.py`` and ``evaluate.py`` share.

``--config NAME.yaml`` then ``key=value`` words; ``--print-config`` shows the resolved YAML and exits. Exit codes: 0
done, 2 something that a person can put right (one line on stderr), 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from conf.errors import ConfigError, Interrupted, UserError, one_line
from conf.loader import Loaded, load_config


class _Parser(argparse.ArgumentParser):
    """Reports through :class:`ConfigError`: one line, no usage block."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see --help)")


def parse(program: str, description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """Split the command line into ``config``, ``print_config``, ``traceback`` and the ``overrides``.

    Raises:
        ConfigError: for unknown options, a missing ``--config`` or a missing value.
    """
    parser = _Parser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="NAME.yaml", help="a path, or a name in conf/")
    parser.add_argument("--print-config", action="store_true", help="show the resolved YAML and exit")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from, not only its line")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. trainer.devices=2 data.batch_size=512")
    words = list(sys.argv[1:] if argv is None else argv)
    options = ["--config", "--print-config", "--traceback", "--help"]
    for word in words:
        name, equals, _ = word.partition("=")
        if name.startswith("--") and name not in options:
            if equals and "." in name:
                raise ConfigError(f"`{name}`: overrides take no dashes: {word.lstrip('-')}")
            near = difflib.get_close_matches(name, options, n=1, cutoff=0.0)[0]
            raise ConfigError(f"unknown option `{name}`, did you mean `{near}`?")
    parsed = parser.parse_intermixed_args(words)
    for word, following in zip(parsed.overrides, [*parsed.overrides[1:], ""], strict=False):
        if "=" not in word:
            example = f"{word}={following}" if following and "=" not in following else f"{word}=..."
            raise ConfigError(f"`{word}` has no value: overrides are written key=value, without spaces: {example}")
    return parsed


def run_command(
    program: str,
    description: str,
    tasks: Mapping[str, Any],
    run: Callable[[Loaded], Any],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, load, run, and turn what went wrong into a line and an exit code."""
    debug = "--traceback" in (sys.argv[1:] if argv is None else argv)
    try:
        arguments = parse(program, description, argv)
        loaded = load_config(arguments.config, arguments.overrides, tasks)
        if arguments.print_config:
            print(loaded.resolved, end="")
            return 0
        with _signals_interrupt():
            run(loaded)
        return 0
    except UserError as error:
        if debug:
            raise
        print(f"{_rank()}error: {one_line(error)}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        return _stopped(stop.signum, stop.saved)
    except KeyboardInterrupt:
        return _stopped(signal.SIGINT, None)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise :class:`Interrupted`, also before the first batch and after the last.

    By default SIGTERM ends the process without a word, and Lightning turns a KeyboardInterrupt into exit code 1.
    """
    kept, owner = {}, os.getpid()

    def interrupt(signum: int, frame: Any) -> None:
        if os.getpid() == owner:
            raise Interrupted(signum)
        signal.signal(signum, signal.SIG_DFL)  # a forked process dies of it as it would have without us
        os.kill(os.getpid(), signum)

    if threading.current_thread() is threading.main_thread():
        kept = {signum: signal.signal(signum, interrupt) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)


def _stopped(signum: int, saved: str | None) -> int:
    if _rank():
        return 0  # a launcher that sees a rank fail kills the others, and this was no failure
    kept = f"; saved {saved}, continue with resume=last" if saved else "; nothing was saved"
    print(f"stopped by {signal.Signals(signum).name}{kept}", file=sys.stderr)
    return 128 + signum


def is_rank_zero() -> bool:
    """Whether this is the first (or only) process of the run, the one that writes."""
    return _rank() == ""


def _rank() -> str:
    """``"[rank 1] "`` on the processes that a launcher started, empty on the first one."""
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_PROCID") or "0"
    return f"[rank {rank}] " if rank != "0" else ""
