"""Prints the pinned packages that an image needs: no developers' tools, and no CUDA where there is none.

python runtime_lock.py cpu|cuda requirements.lock cluster.lock > runtime.lock
"""

from __future__ import annotations

import sys
from pathlib import Path

DEVELOPERS = (
    *("hypothesis", "mypy", "pytest", "ruff", "types-", "pandas-stubs", "execnet", "iniconfig", "pluggy"),
    *("moto", "boto3", "botocore", "s3transfer", "jmespath", "py-partiql-parser", "responses", "xmltodict"),
)
CUDA = ("nvidia-", "cuda-", "triton")


def select(lines: list[str], kind: str) -> list[str]:
    """The requirements of ``lines`` that an image of this kind installs, markers kept, comments left out."""
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"the kind of image is cpu or cuda, not {kind!r}")
    unwanted = DEVELOPERS + (CUDA if kind == "cpu" else ())
    pinned = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [line for line in pinned if not line.startswith(unwanted)]


if __name__ == "__main__":
    locks = [Path(name).read_text(encoding="utf-8") for name in sys.argv[2:]]
    print("\n".join(select("\n".join(locks).splitlines(), sys.argv[1])))
