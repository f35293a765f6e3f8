"""The one error of this package: data that cannot be used, said so that the reader can mend it."""

from __future__ import annotations


class DataError(ValueError):
    """A data set, or a request for one, that is refused.

    The message is one line: what is wrong (naming the file, row or field) and what to do about it.
    `str(error)` is meant for the user as it stands.
    """

    def __init__(self, problem: str, mend: str = "") -> None:
        # One argument reaches `args`, because an exception crosses processes as `DataError(*args)`.
        super().__init__(f"{problem}. Mend: {mend}." if mend else problem)


def some(items: list[str], most: int = 5) -> str:
    """Names for a message, quoted and cut after `most`: `'a', 'b' and 7 more`."""
    shown = ", ".join(repr(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
