"""From a data set to the report: load, embed, measure."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from search.complexity.layout import class_map
from search.complexity.report import ComplexityReport, Measured
from search.complexity.width import advise_width
from search.config import DataConfig, SearchConfig
from search.loading import ConfigError
from search.preflight import load_data
from workers.complexity.csg import csg_interval
from workers.complexity.embeddings import DEFAULT, EMBEDDINGS
from workers.complexity.embeddings.tsne import MAX_IMAGES
from workers.complexity.expected import IMAGES as CALIBRATED_IMAGES
from workers.complexity.expected import ExpectedError, expected_error, measure_figures
from workers.complexity.image import measure_images
from workers.complexity.reduction import part_of, reduce_data
from workers.complexity.width_reference import CURVE, MEASURES
from workers.data import DataError, Images

PICTURES = 1000
"""Most images that are measured as pictures: a mean needs no more, and blobs of large images take their time."""
LEAST_IMAGES = 5
_DIMENSIONS_WITH_VOLUME = 3
_SAMPLES, _NEIGHBOURS, _REPEATS, _LADDER_REPEATS = 250, 3, 10, 5


@dataclass(frozen=True)
class ComplexitySettings:
    """How a data set is looked at.

    Attributes:
        embedding: a name in :data:`workers.complexity.embeddings.EMBEDDINGS`.
        images: most training images that are embedded, drawn from each class in proportion.
        keep: share of the accuracy that a narrower network is to keep.
        max_params: most parameters of that network, as a share of the full one's.
        seed: of the splits, the embedding and all draws.
    """

    embedding: str = DEFAULT
    images: int = 4000
    keep: float = 0.95
    max_params: float = 1.0
    seed: int = 0


def complexity(data: DataConfig, settings: ComplexitySettings) -> ComplexityReport:
    """Measure the training images of a data set; held-out images are not looked at.

    Raises:
        DataError: the data cannot be used; one class is none to tell from another.
        ConfigError: no such embedding, or more images than it takes.
    """
    _check(settings)
    train = load_data(data, settings.seed).train
    if len(train) < LEAST_IMAGES:
        raise DataError(f"data: {len(train)} training images tell nothing", f"give at least {LEAST_IMAGES}")
    labels = torch.from_numpy(train.labels)
    # Training images stand in random order, so the first of every class are a fair sample.
    chosen = part_of(labels, torch.arange(len(train)), min(1.0, settings.images / len(train)))
    seen = train.subset(chosen.numpy())
    pictures = measure_images(train.images[:PICTURES]).means()
    embedding = EMBEDDINGS[settings.embedding](torch.from_numpy(seen.images), settings.seed)
    volume = embedding.shape[1] <= _DIMENSIONS_WITH_VOLUME
    labels = torch.from_numpy(seen.labels)
    overlap = csg_interval(embedding, labels, settings.seed, _REPEATS, _SAMPLES, _NEIGHBOURS, volume)
    reduction = reduce_data(embedding, labels, settings.seed, _LADDER_REPEATS, _SAMPLES, _NEIGHBOURS, volume)
    return ComplexityReport(
        measured=Measured(
            source=data.source,
            classes=train.class_names,
            shape=train.shape,
            training=len(train),
            images=len(seen),
            pictures=min(PICTURES, len(train)),
            embedding=settings.embedding,
            dimensions=embedding.shape[1],
            volume=volume,
            samples=_SAMPLES,
            neighbours=_NEIGHBOURS,
            repeats=_REPEATS,
            seed=settings.seed,
        ),
        csg=overlap,
        class_map=class_map(overlap.similarity.numpy()),
        pictures=pictures,
        reduction=reduction,
        width=advise_width(CURVE, MEASURES, pictures, settings.keep, settings.max_params),
        expected=_expected(train, settings.seed),
    )


def _expected(train: Images, seed: int) -> ExpectedError | None:
    """The error to expect, from a sample of its own: the guess is calibrated on so many images and no fewer."""
    if len(train) < CALIBRATED_IMAGES:
        return None
    try:
        figures = measure_figures(torch.from_numpy(train.images), torch.from_numpy(train.labels), seed)
    except ValueError:  # all classes but one are so rare that the sample misses them
        return None
    return expected_error(figures)


def params_limit(config: SearchConfig) -> float:
    """The budget on parameters as a share of the full network's; 1 where there is none.

    Raises:
        ConfigError: the budget is an absolute number, and there is no network to see it as a share of.
    """
    limit = config.budget.params
    if limit is None:
        return 1.0
    if isinstance(limit, int):
        raise ConfigError(
            f"budget.params: {limit:,} is a number of parameters and no network is given; set a share, 1/16"
        )
    return limit


def _check(settings: ComplexitySettings) -> None:
    if settings.embedding not in EMBEDDINGS:
        known = ", ".join(EMBEDDINGS)
        raise ConfigError(f"--embedding: there is no embedding {settings.embedding!r}; known: {known}")
    if "tsne" in settings.embedding and settings.images > MAX_IMAGES:
        raise ConfigError(
            f"--images: {settings.embedding} takes at most {MAX_IMAGES:,}, got {settings.images:,}; give fewer, or "
            f"--embedding {DEFAULT}"
        )
