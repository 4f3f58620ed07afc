import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from modalities.image.fonts import ColourFont
from modalities.image.modality import ImageModality
from multidiff.errors import InputError

RED, BLUE = (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0)
SQUARE = ((0, 0), (0, 800), (800, 800), (800, 0))
LOW = ((0, 0), (0, 400), (800, 400), (800, 0))


def outline(points):
    pen = TTGlyphPen(None)
    if points:
        pen.moveTo(points[0])
        for point in points[1:]:
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()


LAYERS = {"dog": [("square", 0), ("low", 1)]}
"""A red square with a blue lower half."""


def write_font(path, layers=None, codes=(0x1F436,)):
    """A font of squares for "dog face", or other characters, and for one without a name, and of a space."""
    builder = FontBuilder(1000)
    shapes = {".notdef": (), "dog": SQUARE, "space": (), "unnamed": SQUARE, "square": SQUARE, "low": LOW}
    builder.setupGlyphOrder(list(shapes))
    builder.setupCharacterMap(dict.fromkeys(codes, "dog") | {0x20: "space", 0xE000: "unnamed"})
    builder.setupGlyf({name: outline(points) for name, points in shapes.items()})
    builder.setupHorizontalMetrics(dict.fromkeys(shapes, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupPost()
    if layers:
        builder.setupCOLR(layers)
        builder.setupCPAL([[RED, BLUE]])
    builder.save(path)
    return path


def test_named_characters_are_rendered_in_their_colours(tmp_path):
    font = write_font(tmp_path / "font.ttf", LAYERS)
    dataset = ColourFont(ImageModality(3), font, size=8, cache=tmp_path / "cache")
    assert dataset.fields["caption"] == [("dog face",)]
    shown = ((dataset.data(0, np.random.default_rng(0)) + 1) * 127.5).round().byte().numpy().transpose(1, 2, 0)
    assert (shown[1:3, 1:-1] == (255, 0, 0)).all()
    assert (shown[5:-1, 1:-1] == (0, 0, 255)).all()


@pytest.mark.parametrize("kept", [0, 12, 300])
def test_a_damaged_font_is_named(tmp_path, kept):
    font = write_font(tmp_path / "font.ttf", LAYERS)
    font.write_bytes(font.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"font\.ttf: "):
        ColourFont(ImageModality(3), font, size=8, cache=tmp_path / "cache")


def test_a_font_without_colours_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"font\.ttf: has no colours that can be rendered"):
        ColourFont(ImageModality(3), write_font(tmp_path / "font.ttf"), size=8)
