"""Everything about labels and settings that is refused before an image is decoded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from workers.data.errors import DataError, some
from workers.data.table import Parts, Table, with_classes_of

if TYPE_CHECKING:
    from workers.data.load import DataRequest

SMALLEST_SIZE = 1
SMALLEST_CLASS_TO_SPLIT = 3


def check_parts(parts: Parts) -> Parts:
    """The same parts with their classes named and numbered alike.

    Where the training part names no classes, its labels are the names; where it or another part names none,
    labels mean the same in both, and otherwise classes are matched by name.
    Raises DataError for an empty part, a label out of range, fewer than two classes, a class without
    training images, a validation or test class that training lacks, and, where a part has to be split off
    from training, a class with fewer than three images.
    """
    train = _with_names(parts.train)
    _check_labels(train)
    _check_classes(train)
    if parts.validation is None or parts.test is None:
        _check_enough_to_split(train)
    by_name = parts.train.class_names is not None

    def other(table: Table | None, part: str) -> Table | None:
        return None if table is None else _like_training(table, train, part, by_name)

    return Parts(train, other(parts.validation, "validation"), other(parts.test, "test"))


def check_request(request: DataRequest) -> None:
    """Raises DataError naming the field of `request` that cannot be meant."""
    if not request.source.strip():
        raise DataError("source is empty", "give a data set's name or a path")
    for name in ("validation_fraction", "test_fraction"):
        value = getattr(request, name)
        if not 0 < value < 1:
            raise DataError(f"{name} is {value}", "give a fraction between 0 and 1, such as 0.2")
    if request.validation_fraction + request.test_fraction >= 1:
        raise DataError(
            f"validation_fraction {request.validation_fraction} and test_fraction {request.test_fraction} "
            "leave nothing to train on",
            "make their sum less than 1",
        )
    if request.size is not None and request.size < SMALLEST_SIZE:
        raise DataError(f"size is {request.size}", f"give at least {SMALLEST_SIZE} pixel, or leave it out")
    if request.limit is not None and request.limit < 1:
        raise DataError(f"limit is {request.limit}", "give a number of images, or leave it out")
    if request.seed < 0:
        raise DataError(f"seed is {request.seed}", "give 0 or more")


def _with_names(train: Table) -> Table:
    if len(train) == 0:
        raise DataError(f"{train.name}: there are no training images", "add images")
    if train.class_names is not None:
        return train
    present = np.unique(train.labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if present[0] >= 0 and len(gaps):
        # Counted before any name is made, since a stray label of a billion would ask for a billion names.
        raise DataError(
            f"{train.name}: label {gaps[0]} has no training image but label {present[-1]} has",
            "number the classes 0, 1, 2, ... without gaps, or give class_names",
        )
    return replace(train, class_names=tuple(str(label) for label in range(len(present))))


def _check_labels(table: Table) -> None:
    names = table.class_names or ()
    bad = np.flatnonzero((table.labels < 0) | (table.labels >= len(names)))
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"{table.where(row)}: label {table.labels[row]} is out of range, "
            f"with {len(names)} classes labels are 0..{len(names) - 1}",
            "correct the label, or add the class to class_names",
        )


def _check_classes(train: Table) -> None:
    names = train.class_names or ()
    if len(names) < 2:
        raise DataError(
            f"{train.name}: there is only one class, {some(list(names))}",
            "give images of at least two classes",
        )
    counts = np.bincount(train.labels, minlength=len(names))
    missing = [names[label] for label in np.flatnonzero(counts == 0)]
    if missing:
        raise DataError(
            f"{train.name}: class {some(missing)} has no training image",
            "add images of it, or remove the class",
        )


def _check_enough_to_split(train: Table) -> None:
    names = train.class_names or ()
    counts = np.bincount(train.labels, minlength=len(names))
    rare = [f"{names[label]} ({counts[label]})" for label in np.flatnonzero(counts < SMALLEST_CLASS_TO_SPLIT)]
    if rare:
        raise DataError(
            f"{train.name}: class {some(rare)} has fewer than {SMALLEST_CLASS_TO_SPLIT} images, "
            "too few for training, validation and test",
            "add images of it, remove it, or give separate splits",
        )


def _like_training(table: Table, train: Table, part: str, by_name: bool) -> Table:
    if len(table) == 0:
        raise DataError(f"{table.name}: the {part} split holds no images", "add images, or leave the split out")
    named = table if by_name and table.class_names else replace(table, class_names=train.class_names)
    _check_labels(named)
    return with_classes_of(named, train)
