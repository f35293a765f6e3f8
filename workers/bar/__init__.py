"""Budget-aware regularisation: channels are switched off by gates that are trained under a barrier.

Lemaire, Achkar and Jodoin, "Structured Pruning of Neural Networks with Budget-Aware Regularization", CVPR 2019 (arXiv
1811.09332).
"""

from workers.bar.prune import Barred, bar
from workers.bar.settings import BarSettings

__all__ = ["BarSettings", "Barred", "bar"]
