import numpy as np
import pytest
from PIL import Image

from modalities.image.preview import BACKGROUND, GAP, contact_sheet, magnified


@pytest.mark.parametrize(("size", "shown"), [(1, 64), (8, 64), (28, 56), (32, 64), (33, 33), (64, 64), (500, 500)])
def test_small_images_are_magnified_by_whole_factors(size, shown):
    """And nothing moves: on a ramp, pixel i lies at ``(i + 1/2) / factor - 1/2`` of the small image."""
    ramp = np.broadcast_to(np.linspace(0, 255, size).round(), (size, size)).astype(np.uint8)
    large = np.asarray(magnified(Image.fromarray(ramp)))
    assert large.shape == (shown, shown)
    factor = shown // size
    places = (np.arange(shown) + 0.5) / factor - 0.5
    inside = (places >= 2) & (places <= size - 3)
    assert np.abs(large - np.interp(places, np.arange(size), ramp[0]))[:, inside].max(initial=0) <= 2  # two roundings


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2), (16, 4, 4), (17, 5, 4)]
)
def test_the_grid_is_near_square(count, columns, rows):
    sheet = contact_sheet([Image.new("L", (64, 64))] * count)
    assert sheet.size == (columns * (64 + GAP) + GAP, rows * (64 + GAP) + GAP)


def test_images_come_in_reading_order_and_the_rest_is_background():
    sheet = contact_sheet([Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")])
    cells = [sheet.getpixel((x, y)) for y in (33, 99) for x in (33, 99)]
    assert cells == [(255, 0, 0), (0, 255, 0), (0, 0, 255), BACKGROUND]
    assert sheet.getpixel((0, 0)) == BACKGROUND


def test_sizes_and_modes_may_differ():
    sheet = contact_sheet([Image.new("RGB", (100, 60), "red"), Image.new("L", (8, 8)), Image.new("RGBA", (70, 90))])
    assert sheet.getpixel((GAP + 50, GAP + 45)) == (255, 0, 0)
    assert sheet.getpixel((GAP + 50, GAP + 1)) == BACKGROUND  # above the wide one
    assert sheet.getpixel((2 * GAP + 150, GAP + 45)) == (0, 0, 0)
    assert sheet.getpixel((GAP + 50, 2 * GAP + 135)) == (255, 255, 255)  # what is transparent


def test_no_image_makes_no_sheet():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
