"""How the C library keeps memory that was freed, set for processes that train."""

from __future__ import annotations

import ctypes
import platform

KEPT = 2**30
"""Bytes of freed memory that a process keeps at most, and the largest block that it serves from them."""

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Let this process use freed memory again where it would give it back; whether the C library can be told to.

    A step of a training frees what the one before it freed. By default glibc returns large blocks to the kernel, which
    hands them out again page by page, zeroed: a seventh of a training's time at 32×32 pixels
    (``benchmarks/throughput.py``). Elsewhere than on glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT) and mallopt(_M_MMAP_THRESHOLD, KEPT))
