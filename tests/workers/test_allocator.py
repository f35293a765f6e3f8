"""Memory that a training frees and takes again at every step."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from workers.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def step():
    live = [torch.ones(10, 2**20) for _ in range(2)]  # 40 MiB each: more than glibc ever keeps by itself

for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again_without_the_kernel() -> None:
    assert page_faults("kept") < page_faults("default") / 10  # of pages, not of time
