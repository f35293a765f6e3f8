"""Budget-aware regularisation: channels are switched off by gates that are trained under a barrier.

Lemaire, Achkar and Jodoin, "Structured Pruning of Neural Networks with Budget-Aware Regularization", CVPR 2019 (arXiv
1811.09332).

The paper trains gates for tens of thousands of steps. In a few hundred, many gates close at once, those of groups at
high resolution first, which a budget of activations weighs most: so a core of every group is left alone
(:attr:`workers.bar.settings.BarSettings.core`).
"""

from workers.bar.prune import Barred, bar
from workers.bar.settings import BarSettings

__all__ = ["BarSettings", "Barred", "bar"]
