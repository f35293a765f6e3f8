"""Data sets of graded difficulty, all of 1,000 training images of 16 × 16: what ``csg_value.py`` measures on.

Sources are scikit-learn's digits, drawn shapes, and, from a folder of Parquet files, CIFAR-10 and sign-language digits.
Variants of a source choose or merge classes, coarsen or disturb the images, or give images wrong labels, in training
and test alike: each is a data set of its own, with its own best possible error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spaces.randomness import numpy_generator
from workers.data.load import DataRequest, load_splits

SIDE = 16
TRAIN = 1000
TEST = 800

Pool = tuple[np.ndarray, np.ndarray]
"""uint8 images ``[N, C, 16, 16]`` and int64 labels ``[N]``."""

Edit = Callable[[np.ndarray, np.ndarray, np.random.Generator], Pool]


@dataclass(frozen=True)
class Variant:
    """One data set: uint8 images ``[N, C, 16, 16]``, labels ``0 … classes - 1``."""

    name: str
    source: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int


def make_variants(folder: Path | None) -> Iterator[Variant]:
    """All variants of the sources at hand, in a fixed order."""
    yield from _of("digits", _load("digits", None, 0.4), _DIGITS)
    yield from _of("shapes", (_shapes(1200, "train"), _shapes(TEST, "test")), _SHAPES)
    if folder is not None:
        signs = _load(str(folder / "sign-digits-train.parquet"), str(folder / "sign-digits-test.parquet"), 0.0)
        yield from _of("signs", signs, _SIGNS)
        cifar = _load(str(folder / "cifar10-train.parquet"), str(folder / "cifar10-test.parquet"), 0.0, 10_000)
        yield from _of("cifar", cifar, _CIFAR)


def choose(images: np.ndarray, labels: np.ndarray, _: np.random.Generator, groups: Sequence[Sequence[int]]) -> Pool:
    """Only the classes in ``groups``; those of a group become one class."""
    place = np.full(labels.max() + 1, -1)
    for new, group in enumerate(groups):
        place[list(group)] = new
    kept = place[labels] >= 0
    return images[kept], place[labels[kept]]


def mislabel(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, share: float) -> Pool:
    """A ``share`` of the images get the label of a random other class."""
    classes = labels.max() + 1
    wrong = rng.random(len(labels)) < share
    return images, np.where(wrong, (labels + rng.integers(1, classes, len(labels))) % classes, labels)


def confuse(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, classes: int) -> Pool:
    """Labels of the first ``classes`` classes are shuffled among themselves."""
    labels = labels.copy()
    touched = np.nonzero(labels < classes)[0]
    labels[touched] = labels[rng.permutation(touched)]
    return images, labels


def coarsen(images: np.ndarray, labels: np.ndarray, _: np.random.Generator, side: int) -> Pool:
    """Shrunk to ``side`` and enlarged again."""
    x = torch.from_numpy(images).float()
    small = F.interpolate(x, (side, side), mode="area")
    large = F.interpolate(small, (SIDE, SIDE), mode="bilinear")
    return large.round().clamp(0, 255).byte().numpy(), labels


def disturb(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, deviation: float) -> Pool:
    """Gaussian noise on every pixel."""
    return (images + deviation * rng.normal(size=images.shape)).round().clip(0, 255).astype(np.uint8), labels


def shift(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, most: int) -> Pool:
    """Every image rolled by up to ``most`` pixels each way: harder for distances than for convolutions."""
    moves = rng.integers(-most, most + 1, (len(images), 2))
    moved = [np.roll(image, (int(dy), int(dx)), (1, 2)) for image, (dy, dx) in zip(images, moves, strict=True)]
    return np.stack(moved), labels


_TEN = ("clean", [])
_ODD_EVEN = partial(choose, groups=[[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]])
_DIGITS: list[tuple[str, list[Edit]]] = [
    _TEN,
    ("labels 30 %", [partial(mislabel, share=0.3)]),
    ("labels 60 %", [partial(mislabel, share=0.6)]),
    ("5 confused", [partial(confuse, classes=5)]),
    ("noise 80", [partial(disturb, deviation=80)]),
    ("noise 160", [partial(disturb, deviation=160)]),
    ("3 × 3", [partial(coarsen, side=3)]),
    ("2 × 2", [partial(coarsen, side=2)]),
    ("shifted 4", [partial(shift, most=4)]),
    ("odd or even", [_ODD_EVEN]),
]
_SHAPES: list[tuple[str, list[Edit]]] = [
    ("clean", []),
    ("noise 120", [partial(disturb, deviation=120)]),
    ("labels 20 %", [partial(mislabel, share=0.2)]),
    ("4 × 4", [partial(coarsen, side=4)]),
]
_SIGNS: list[tuple[str, list[Edit]]] = [
    _TEN,
    ("labels 40 %", [partial(mislabel, share=0.4)]),
    ("5 confused", [partial(confuse, classes=5)]),
    ("noise 60", [partial(disturb, deviation=60)]),
    ("4 × 4", [partial(coarsen, side=4)]),
    ("shifted 3", [partial(shift, most=3)]),
    ("odd or even", [_ODD_EVEN]),
]
# airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck
_CIFAR: list[tuple[str, list[Edit]]] = [
    _TEN,
    ("labels 30 %", [partial(mislabel, share=0.3)]),
    ("4 × 4", [partial(coarsen, side=4)]),
    ("vehicles or animals", [partial(choose, groups=[[0, 1, 8, 9], [2, 3, 4, 5, 6, 7]])]),
    ("cat, dog", [partial(choose, groups=[[3], [5]])]),
    ("car, truck", [partial(choose, groups=[[1], [9]])]),
    ("frog, ship", [partial(choose, groups=[[6], [8]])]),
    ("plane, car, frog", [partial(choose, groups=[[0], [1], [6]])]),
    ("4 vehicles", [partial(choose, groups=[[0], [1], [8], [9]])]),
    ("6 animals", [partial(choose, groups=[[2], [3], [4], [5], [6], [7]])]),
]


def _of(source: str, pools: tuple[Pool, Pool], recipes: list[tuple[str, list[Edit]]]) -> Iterator[Variant]:
    for name, edits in recipes:
        rng = numpy_generator(0, "variant", source, name)
        train, test = (
            _draw(_edited(pool, edits, rng), most, rng) for pool, most in zip(pools, (TRAIN, TEST), strict=True)
        )
        classes = int(train[1].max()) + 1
        tensors = [torch.from_numpy(array) for array in (*train, *test)]
        yield Variant(f"{source}: {name}", source, *tensors, classes=classes)


def _edited(pool: Pool, edits: list[Edit], rng: np.random.Generator) -> Pool:
    for edit in edits:
        pool = edit(*pool, rng)
    return pool


def _draw(pool: Pool, most: int, rng: np.random.Generator) -> Pool:
    rows = rng.permutation(len(pool[1]))[:most]
    return pool[0][rows], pool[1][rows]


def _load(source: str, test: str | None, test_fraction: float, limit: int | None = None) -> tuple[Pool, Pool]:
    settings = {"test_fraction": test_fraction} if test is None else {}
    splits = load_splits(DataRequest(source, test, size=SIDE, validation_fraction=0.1, limit=limit, **settings))
    train = np.concatenate([splits.train.images, splits.validation.images])
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    return (train, labels), (splits.test.images, splits.test.labels)


def _shapes(count: int, part: str) -> Pool:
    """Discs, squares, triangles and crosses of random size, place and brightness."""
    rng = numpy_generator(0, "shapes", part)
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = rng.integers(0, 4, count)
    images = np.empty((count, 1, SIDE, SIDE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        size, (dy, dx) = rng.uniform(2.5, 5), rng.uniform(5, SIDE - 5, 2)
        v, u = (y - dy) / size, (x - dx) / size
        inside = (
            u**2 + v**2 < 1.1,
            np.maximum(abs(u), abs(v)) < 0.9,
            (v < 0.9) & (v > 2 * abs(u) - 0.9),
            (np.minimum(abs(u), abs(v)) < 0.33) & (np.maximum(abs(u), abs(v)) < 1),
        )[label]
        image[0] = np.where(inside, rng.uniform(120, 255), rng.uniform(0, 60))
    return images, labels
