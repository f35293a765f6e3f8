"""The curve of accuracy against width that advice rests on where nothing is trained: constants, and their grounds.

As printed by ``benchmarks/width_curves.py`` from ``benchmarks/results/width_curves.json``: the Inception family at five
widths on six small data sets, variants of three sources (digits, CIFAR-10 and sign digits at 16 × 16, at most 1,000
images, 12 epochs). Three sources are few: image complexity was given slopes and got 0 for all of them, that is, it did
not tell which data bear a narrow network, and with them the error on a source left out was no smaller (0.145 of the
full accuracy without, 0.146 to 0.29 with). So the curve is the same for all images, and its interval is wide.
"""

from __future__ import annotations

from workers.complexity.scaling import Curve

MEASURES: tuple[str, ...] = ()
"""The complexity measures that :data:`CURVE` takes."""

CURVE = Curve(
    intercept=0.017421,
    slopes=(),
    power=2.55835,
    noise=0.039783,
    covariance=((7.5472e-05, -0.00351943), (-0.00351943, 0.170073)),
    freedom=22.0,
    least=0.072766,
)

LEFT_OUT_ERROR = 0.145
"""Root mean square error of the retained share on a source left out of the fit."""

SOURCES, DATA_SETS = 3, 6
