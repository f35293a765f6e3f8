"""Fills in what a manifest leaves open: ``${NAME}`` becomes the value given here, or that of values.env beside it.

    python deploy/render.py deploy/kubernetes/raycluster.yaml NIWAKI_GPU_WORKERS_MOST=16 | kubectl apply -f -

Nothing but the standard library is needed. A value is one plain word, so that it cannot change a manifest's structure.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

_PLAIN = re.compile(r"[A-Za-z0-9./][A-Za-z0-9._:/@+-]*")


class Refused(ValueError):
    """A value that cannot be filled in; the message says which and why."""


def read_values(path: Path) -> dict[str, str]:
    """``NAME=VALUE`` lines; empty ones and those that begin with # are left out."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return parse([line for line in lines if line and not line.startswith("#")])


def parse(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` strings as a mapping.

    Raises:
        Refused: a pair has no ``=``, or its value is no plain word.
    """
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise Refused(f"{pair!r}: must look like NAME=VALUE")
        if not _PLAIN.fullmatch(value):
            raise Refused(f"{name}: {value!r} must be a plain word of letters, digits and . _ : / @ + -")
        values[name] = value
    return values


def render(text: str, values: Mapping[str, str], given: Mapping[str, str]) -> str:
    """``text`` with ``given`` filled in, and ``values`` where nothing is given.

    Raises:
        Refused: a name has no value, or a given one is not asked for.
    """
    unknown = set(given) - set(values)
    if unknown:
        raise Refused(f"{', '.join(sorted(unknown))}: no manifest asks for this; see values.env")
    try:
        return Template(text).substitute({**values, **given})
    except KeyError as error:
        raise Refused(f"{error.args[0]}: has no value; add it to values.env") from None


def main(arguments: Sequence[str]) -> int:
    """The command line; exit code 2 for what was refused."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    manifest = Path(arguments[0])
    try:
        values = read_values(manifest.parent / "values.env")
        sys.stdout.write(render(manifest.read_text(encoding="utf-8"), values, parse(arguments[1:])))
    except (Refused, OSError) as error:
        print(f"render: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
