"""How the C library keeps memory that was freed, set for processes that train."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

KEPT = 2**30
"""Bytes that may be free at the heap's end before they go back, and the largest block that is taken from the heap."""

LARGEST_BEFORE = 2**25
"""The largest such block in versions of glibc that do not take any (until about 2.34)."""

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Let this process use freed memory again where it would give it back; whether the C library can be told to.

    A step of a training takes what the one before it freed. By default glibc returns large blocks to the kernel, which
    hands them out again page by page, zeroed, at every step. Elsewhere than on glibc nothing is done.
    """
    if not _glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # First the blocks: once anything is set, glibc no longer adapts the threshold by itself.
    blocks = mallopt(_M_MMAP_THRESHOLD, KEPT) or mallopt(_M_MMAP_THRESHOLD, LARGEST_BEFORE)
    return bool(blocks and mallopt(_M_TRIM_THRESHOLD, KEPT))


def give_back_freed_memory() -> None:
    """Return what can be returned to the kernel: between evaluations, whose memory limits are counted from there."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
