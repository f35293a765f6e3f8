"""For all tests: no deadline on busy machines, and one thread, since tiny tensors make threads wait for each other."""

import torch
from hypothesis import settings

settings.register_profile("niwaki", deadline=None)
settings.load_profile("niwaki")
torch.set_num_threads(1)
