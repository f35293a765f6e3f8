"""Everything that is known of a data set's complexity, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search.complexity.width import WidthAdvice
from workers.complexity.csg import LEAST_EFFECTIVE_SAMPLES, CsgInterval, Interval
from workers.complexity.expected import ExpectedError
from workers.complexity.image import Mean
from workers.complexity.reduction import Reduction


@dataclass(frozen=True)
class Measured:
    """What was looked at, and how.

    Attributes:
        source: as the user named it.
        classes: names, in label order.
        shape: channels, height, width.
        training: training images of the set.
        images: how many of these were embedded; a stratified random part.
        pictures: how many of these were measured as pictures.
        embedding, dimensions: where distances were taken.
        volume: whether neighbours' volumes weigh the samples.
        samples, neighbours, repeats: CSG's settings.
    """

    source: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    training: int
    images: int
    pictures: int
    embedding: str
    dimensions: int
    volume: bool
    samples: int
    neighbours: int
    repeats: int
    seed: int


@dataclass(frozen=True)
class Pair:
    """Two classes and the share of their neighbourhoods that is the same, in [0, 1]."""

    first: str
    second: str
    similarity: float


@dataclass(frozen=True, eq=False)
class ComplexityReport:
    """The answer of `niwaki complexity`.

    Attributes:
        csg: figures of class overlap over draws of samples; spectrum and similarity are their means.
        class_map: float64 ``[K, 2]``, classes that overlap lie near each other.
        pictures: mean over images with its interval, by measure.
        expected: test error of a small network; None of a set too small for the guess.
    """

    measured: Measured
    csg: CsgInterval
    class_map: npt.NDArray[np.float64]
    pictures: dict[str, Mean]
    reduction: Reduction
    width: WidthAdvice
    expected: ExpectedError | None

    @property
    def similarity(self) -> npt.NDArray[np.float64]:
        """float64 ``[K, K]``, symmetric, ones on the diagonal."""
        values: npt.NDArray[np.float64] = self.csg.similarity.numpy()
        return values

    @property
    def spectrum(self) -> npt.NDArray[np.float64]:
        """Eigenvalues of the classes' Laplacian, ascending, float64 ``[K]``."""
        values: npt.NDArray[np.float64] = self.csg.spectrum.numpy()
        return values

    def hardest_pairs(self, most: int | None = None) -> list[Pair]:
        """Pairs of classes, most alike first; ties in label order."""
        rows, columns = np.triu_indices(len(self.measured.classes), 1)
        values = self.similarity[rows, columns]
        names = self.measured.classes
        order = np.argsort(-values, kind="stable")[:most]
        return [Pair(names[rows[i]], names[columns[i]], float(values[i])) for i in order]

    def warnings(self) -> list[str]:
        """What the reader must know before trusting the figures."""
        found = []
        effective = self.csg.effective_samples
        if effective < LEAST_EFFECTIVE_SAMPLES:
            found.append(
                f"class overlap rests on as few as {effective:.1f} effective samples of a class (below "
                f"{LEAST_EFFECTIVE_SAMPLES} a few images decide); use more images a class"
                + (" or an embedding that is not weighed by volume" if self.measured.volume else "")
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        m, c = self.measured, self.csg
        return {
            "data": {
                "source": m.source,
                "classes": list(m.classes),
                "shape": list(m.shape),
                "training": m.training,
                "images": m.images,
                "pictures": m.pictures,
            },
            "settings": {
                "embedding": m.embedding,
                "dimensions": m.dimensions,
                "volume": m.volume,
                "samples": m.samples,
                "neighbours": m.neighbours,
                "repeats": m.repeats,
                "seed": m.seed,
            },
            "overlap": {
                **{name: _interval(getattr(c, name)) for name in ("csg", "relative", "auls", "cmsauls")},
                "effective_samples": c.effective_samples,
                "spectrum": self.spectrum.tolist(),
                "similarity": self.similarity.tolist(),
                "class_map": self.class_map.tolist(),
            },
            "pictures": {name: _mean(mean) for name, mean in self.pictures.items()},
            "reduction": {
                "advised": self.reduction.advised,
                "tolerance": self.reduction.tolerance,
                "rungs": [{"images": rung.images, "csg": _interval(rung.csg)} for rung in self.reduction.rungs],
            },
            "width": self.width.to_json(),
            "expected": None
            if self.expected is None
            else {
                "accuracy": 1 - self.expected.error,
                "low": 1 - self.expected.high,
                "high": 1 - self.expected.low,
            },
            "warnings": self.warnings(),
        }


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean(mean: Mean) -> dict[str, float | None]:
    ends = {"low": mean.low, "high": mean.high}
    return {"mean": mean.value, **{name: value if math.isfinite(value) else None for name, value in ends.items()}}
