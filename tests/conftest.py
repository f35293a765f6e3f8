"""For all tests: no deadline on busy machines, and one thread, since tiny tensors make threads wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start, and before OpenMP is loaded here

import torch
from hypothesis import settings

settings.register_profile("niwaki", deadline=None)
settings.load_profile("niwaki")
torch.set_num_threads(1)
