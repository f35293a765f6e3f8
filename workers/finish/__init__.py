"""The last training of a chosen candidate, by Ray Tune: alone, as a population, or in rungs.

What each member of a population trains next is a function of the settings, the seed and the results so far
(:mod:`workers.finish.methods`); Tune runs the legs, wherever there is room (:mod:`workers.finish.tuner`).
"""

from workers.finish.leg import Finishing, Leg, LegResult
from workers.finish.settings import FinishSettings

__all__ = ["FinishSettings", "Finishing", "Leg", "LegResult"]
