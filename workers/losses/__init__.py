"""What a training minimises. A new term is a file here and a line in :mod:`workers.losses.objective`."""

from workers.losses.objective import Objective, make_objective
from workers.losses.step import Step

__all__ = ["Objective", "Step", "make_objective"]
