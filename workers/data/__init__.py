"""Data sets as three splits of uint8 images, refused with a readable message where they cannot be used."""

from __future__ import annotations

from workers.data.dataset import Images, Splits
from workers.data.errors import DataError
from workers.data.load import DataRequest, load_splits

__all__ = ["DataError", "DataRequest", "Images", "Splits", "load_splits"]
