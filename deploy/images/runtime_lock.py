"""Prints the pinned packages that an image needs: the lock without developers' tools, without CUDA where there is none.

python runtime_lock.py cpu|cuda requirements.lock > runtime.lock
"""

from __future__ import annotations

import sys

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
    with open(sys.argv[2], encoding="utf-8") as lock:
        print("\n".join(select(lock.read().splitlines(), sys.argv[1])))
