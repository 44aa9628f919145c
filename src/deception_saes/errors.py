"""Errors that a person mends: one line, in a terminal and in a notebook."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

_MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class OneLine(Exception):
    """An error whose message names the value, what was expected and what to do. A notebook shows it
    without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """For IPython."""
        return [f"{type(self).__name__}: {self}"]


class UserError(OneLine, ValueError):
    """What was given cannot be used."""


def exit_code(command: Callable[[], int]) -> int:
    """What a command returns; 1 after a message on stderr if it stops for what a person can mend, a
    full disk or a folder that may not be written to included."""
    try:
        return command()
    except OneLine as error:
        print(error, file=sys.stderr)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        print(f"{error.filename or 'the disk'}: {error.strerror}; mend that and run the same "
              "command again, what is finished is kept", file=sys.stderr)
    return 1
