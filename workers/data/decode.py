"""From PIL images to one uint8 array: which shape, and how each kind of pixel is turned into it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.data.errors import DataError
from workers.data.table import Table

LARGEST_AUTOMATIC_SIDE = 224

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I"})
_ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})


@dataclass(frozen=True)
class Frame:
    """The shape that every decoded image gets; channels is 1 (grey) or 3 (RGB)."""

    channels: int
    height: int
    width: int

    @property
    def bytes(self) -> int:
        """Of one image."""
        return self.channels * self.height * self.width


def decode_rows(table: Table, rows: npt.NDArray[np.int64], frame: Frame) -> npt.NDArray[np.uint8]:
    """The images of `rows`, in that order: uint8 [len(rows), C, H, W].

    Images are resized (bilinear) where their size is not the frame's, and otherwise kept as they are.
    - Alpha and transparent colours are laid over white.
    - A palette is expanded, and counts as colour.
    - 16-bit grey is scaled by 255 / 65535, the same for every image: no stretching to an image's own range.
    - 1-bit becomes 0 and 255. CMYK, YCbCr, LAB and HSV are converted to RGB.
    - Of an animation or a stack, the first frame is taken. EXIF rotation is not applied.
    Raises DataError naming the file or row of an image that is broken, cut short, or whose values have no
    known range (floating point, or 32-bit integers beyond 0..65535).
    """
    decoded = np.empty((len(rows), frame.channels, frame.height, frame.width), dtype=np.uint8)
    # In the order of the file, because sources read that way fastest.
    for position in np.argsort(rows, kind="stable"):
        row = int(rows[position])
        try:
            with table.read(row) as image:
                pixels = _pixels(image, frame)
        except Exception as error:
            raise _unreadable(table, row, error) from error
        decoded[position] = pixels[None] if frame.channels == 1 else pixels.transpose(2, 0, 1)
    return decoded


def measure_frame(learned: list[Table], held_out: list[Table], size: int | None) -> Frame:
    """The frame for these tables, from the headers of all their images.

    Channels: 1 if every image of every table is grey, else 3. Side: `size` × `size` if given; else, if all
    `learned` images (training and validation) have one size, that size; else a square of their median side
    (over all heights and widths, rounded half to even), but at most 224. A test set does not change the size.
    Neither seed nor limit matters here, so a data set has one shape whatever is drawn from it.
    Raises DataError naming the file or row of an image whose header cannot be read.
    """
    headers = [header for table in learned for header in _headers(table)]
    grey = all(header[2] for header in headers)
    grey = all(header[2] for table in held_out for header in _headers(table)) and grey
    channels = 1 if grey else 3
    if size is not None:
        return Frame(channels, size, size)
    sizes = {(height, width) for width, height, _ in headers}
    if len(sizes) == 1:
        return Frame(channels, *sizes.pop())
    side = round(float(np.median([side for width, height, _ in headers for side in (width, height)])))
    side = min(side, LARGEST_AUTOMATIC_SIDE)
    return Frame(channels, side, side)


def _headers(table: Table) -> Iterable[tuple[int, int, bool]]:
    for row in range(len(table)):
        try:
            with table.read(row) as image:
                yield image.width, image.height, image.mode in _GREY_MODES or image.mode.startswith("I;16")
        except Exception as error:
            raise _unreadable(table, row, error) from error


def _unreadable(table: Table, row: int, error: Exception) -> DataError:
    # PIL's plugins raise a dozen unrelated types for broken files: whatever escapes is the file's fault.
    if isinstance(error, DataError):
        return error
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "BytesIO object at" in cause:  # a stream has no name that would mean anything to a reader
        cause = "cannot identify the image"
    return DataError(
        f"{table.where(row)}: the image is broken, cut short or of an unsupported kind ({cause})",
        "replace the image or remove it",
    )


def _pixels(image: Image.Image, frame: Frame) -> npt.NDArray[np.uint8]:
    mode = "L" if frame.channels == 1 else "RGB"
    plain = _eight_bit(image).convert(mode)
    if plain.size != (frame.width, frame.height):
        plain = plain.resize((frame.width, frame.height), Image.Resampling.BILINEAR)
    return np.asarray(plain)


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"32-bit values from {values.min()} to {values.max()}, beyond 0..65535")
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save as 8 or 16 bit")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        # The colour under full transparency is arbitrary, so merely dropping alpha would show noise.
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image
