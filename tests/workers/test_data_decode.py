"""What becomes of each kind of pixel and size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from workers.data.decode import Frame, decode_rows, measure_frame
from workers.data.errors import DataError
from workers.data.table import Table


def table_of(*images: Image.Image | bytes) -> Table:
    """Images as encoded files, since headers and lazy opening are part of what is tested."""
    contents = [image if isinstance(image, bytes) else encode(image) for image in images]
    return Table(
        "test",
        np.zeros(len(contents), np.int64),
        ("a",),
        lambda row: Image.open(io.BytesIO(contents[row])),
        lambda row: f"image {row}",
    )


def encode(image: Image.Image, kind: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind or ("TIFF" if image.mode in ("CMYK", "F", "I", "LAB") else "PNG"))
    return buffer.getvalue()


def decode(*images: Image.Image | bytes, size: int | None = None) -> np.ndarray:
    table = table_of(*images)
    return decode_rows(table, np.arange(len(images)), measure_frame([table], [], size))


def test_grey_stays_one_channel_and_exact():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    decoded = decode(Image.fromarray(pixels))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels[None, None])


def test_colour_is_channels_first_and_exact():
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(decode(Image.fromarray(pixels))[0], pixels.transpose(2, 0, 1))


def test_one_colour_image_makes_all_colour():
    decoded = decode(Image.new("L", (2, 2), 9), Image.new("RGB", (2, 2), (1, 2, 3)))
    assert decoded.shape == (2, 3, 2, 2)
    assert decoded[:, :, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3]]


def test_palette_counts_as_colour():
    image = Image.new("RGB", (2, 2), (10, 200, 30)).quantize(4)
    assert image.mode == "P"
    assert decode(image)[0, :, 0, 0].tolist() == [10, 200, 30]


def test_alpha_lies_over_white():
    clear, half = Image.new("RGBA", (2, 2), (9, 9, 9, 0)), Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    decoded = decode(clear, half)
    assert decoded[:, 0, 0, 0].tolist() == [255, 127]
    assert decode(Image.new("LA", (2, 2), (9, 0))).tolist() == [[[[255, 255], [255, 255]]]]


def test_a_transparent_colour_lies_over_white():
    image = Image.new("L", (2, 1), 40)
    image.putpixel((1, 0), 50)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=40)
    assert decode(buffer.getvalue())[0, 0].tolist() == [[255, 50]]


def test_sixteen_bit_is_scaled_from_the_full_range():
    pixels = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert decode(Image.fromarray(pixels))[0, 0].tolist() == [[0, 1, 128, 255]]


def test_thirty_two_bit_within_sixteen_bit_range_is_scaled_and_beyond_refused():
    assert decode(Image.fromarray(np.array([[0, 65535]], dtype=np.int32)))[0, 0].tolist() == [[0, 255]]
    with pytest.raises(DataError, match=r"image 0: .*beyond 0..65535"):
        decode(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


def test_floating_point_is_refused():
    with pytest.raises(DataError, match=r"image 0: .*floating-point.*Mend"):
        decode(Image.fromarray(np.array([[0.0, 0.5]], dtype=np.float32)))


def test_one_bit_and_cmyk():
    assert decode(Image.new("1", (1, 1), 1)).tolist() == [[[[255]]]]
    assert decode(Image.new("CMYK", (1, 1), (0, 0, 0, 0)))[0, :, 0, 0].tolist() == [255, 255, 255]


def test_common_size_is_kept_even_when_large_and_not_square():
    assert decode(Image.new("L", (300, 20))).shape == (1, 1, 20, 300)


def test_mixed_sizes_take_the_median_side():
    assert decode(Image.new("L", (10, 10)), Image.new("L", (20, 22)), Image.new("L", (40, 40))).shape[2:] == (
        21,
        21,
    )


def test_the_median_side_is_capped():
    assert decode(Image.new("L", (900, 800)), Image.new("L", (700, 800))).shape[2:] == (224, 224)


def test_size_resizes_bilinearly():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13), dtype=np.uint8))
    expected = np.asarray(image.resize((6, 6), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(image, size=6)[0, 0], expected)


def test_held_out_images_decide_on_colour_but_not_on_size():
    learned, held_out = table_of(Image.new("L", (8, 8))), table_of(Image.new("RGB", (30, 30)))
    assert measure_frame([learned], [held_out], None) == Frame(3, 8, 8)


def test_rows_come_in_the_order_asked_for():
    table = table_of(*(Image.new("L", (1, 1), value) for value in (10, 20, 30)))
    assert decode_rows(table, np.array([2, 0, 1]), Frame(1, 1, 1)).ravel().tolist() == [30, 10, 20]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "GIF"])
def test_a_cut_file_is_refused_by_name(kind):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = encode(noise, kind)
    decode(whole)
    with pytest.raises(DataError, match=r"image 1: the image is broken.*Mend: replace"):
        decode(whole, whole[: len(whole) // 2])


def test_what_is_no_image_is_refused_by_name():
    with pytest.raises(DataError, match="image 0: "):
        decode(b"no image at all")
    with pytest.raises(DataError, match="image 0: "):
        decode(b"")
