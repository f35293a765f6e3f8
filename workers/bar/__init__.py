"""Budget-aware regularisation: channels are switched off by gates that are trained under a barrier.

Lemaire, Achkar and Jodoin, "Structured Pruning of Neural Networks with Budget-Aware Regularization", CVPR 2019 (arXiv
1811.09332).

Limits: the paper trains gates for tens of thousands of steps. In a few hundred, many gates close at once, and groups at
high resolution, which the budget of activations weighs most, may be left with a single channel.
"""

from workers.bar.prune import Barred, bar
from workers.bar.settings import BarSettings

__all__ = ["BarSettings", "Barred", "bar"]
