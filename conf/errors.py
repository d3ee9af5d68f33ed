"""What a person can put right: one line on stderr and exit code 2, instead of a traceback."""

from __future__ import annotations

import errno
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

# What reading a truncated, foreign or unreadable file raises, and what a value out of range raises.
INPUT_ERRORS = (ValueError, OSError, SafetensorError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile)
_STORAGE = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM}


class UserError(Exception):
    """Something outside the program is wrong (a file, a folder, a value); the message says what to do."""


class ConfigError(UserError):
    """The YAML or the command line is wrong; the message names the key and the nearest valid one."""


class Interrupted(BaseException):  # noqa: N818  (not an error: somebody asked; like KeyboardInterrupt nobody swallows it)
    """Ctrl-C or SIGTERM was received and the run stopped in good order.

    Args:
        signum: number of the signal.
        saved: the checkpoint that was written, if any.
    """

    def __init__(self, signum: int, saved: str | None = None) -> None:
        super().__init__(signum, saved)
        self.signum, self.saved = signum, saved


def one_line(error: BaseException) -> str:
    """The message of an exception on one line; its class name when it has no message."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split()) or type(error).__name__


def is_storage_error(error: BaseException) -> bool:
    """Whether a disk is full, read-only or closed to us: nothing that a traceback would explain."""
    return isinstance(error, OSError) and error.errno in _STORAGE


@contextmanager
def user_errors(doing: str) -> Iterator[None]:
    """Turn the errors that wrong input causes into a :class:`UserError` that says what was being done.

    Raises:
        UserError: for any of ``INPUT_ERRORS`` raised inside.
    """
    try:
        yield
    except UserError:
        raise
    except INPUT_ERRORS as error:
        raise UserError(f"{doing}: {one_line(error)}") from error
