"""What every kind of source hands over: labels now, images on demand.

Labels are cheap and images are not: with labels first, bad labels are refused and splits are drawn
before a pixel is decoded, and only the images that are kept are ever decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.data.errors import DataError, some


@dataclass(frozen=True, eq=False)
class Table:
    """Labelled images that are not decoded yet.

    name: what messages call it, such as a path.
    labels: int64 [N], as the source gives them (not yet checked).
    class_names: in label order, or None where the source names no classes.
    read: the PIL image of a row; may open it lazily and raise whatever the reader raises.
    where: a row in words, such as the path of its file.
    """

    name: str
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...] | None
    read: Callable[[int], Image.Image]
    where: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Parts:
    """The splits that a source brings along; those it lacks (None) are drawn from `train`."""

    train: Table
    validation: Table | None = None
    test: Table | None = None


def with_classes_of(table: Table, train: Table) -> Table:
    """`table` with its labels renumbered, by class name, to those of `train`; both name their classes.

    Raises DataError for images of a class that `train` does not have.
    """
    own, wanted = table.class_names or (), train.class_names or ()
    number = {name: label for label, name in enumerate(wanted)}
    unknown = [own[label] for label in np.unique(table.labels) if own[label] not in number]
    if unknown:
        raise DataError(
            f"{table.name}: class {some(unknown)} is not among the training classes of {train.name}, "
            f"which are {some(list(wanted), 10)}",
            "use the same class names in both, or leave that class out",
        )
    if own == wanted:  # also where names stand twice, as `crane` does in ImageNet
        return table
    renumber = np.array([number.get(name, -1) for name in own], dtype=np.int64)
    return replace(table, labels=renumber[table.labels], class_names=wanted)
