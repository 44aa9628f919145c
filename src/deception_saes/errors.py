"""Errors that a person mends: one line, in a terminal and in a notebook."""

from __future__ import annotations


class OneLine(Exception):
    """An error whose message names the value, what was expected and what to do. A notebook shows it
    without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """For IPython."""
        return [f"{type(self).__name__}: {self}"]


class UserError(OneLine, ValueError):
    """What was given cannot be used."""
