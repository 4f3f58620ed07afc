import numpy as np
import pytest

from modalities.image.drawings import DrawingFolder, DrawingPreparation
from modalities.image.emoji import Emoji
from modalities.image.modality import ImageModality
from multidiff.errors import InputError

RGB, RGBA = ImageModality(3), ImageModality(4)
WIDE = '<svg viewBox="0 0 40 20" xmlns="http://www.w3.org/2000/svg"><rect width="40" height="20" fill="#f00"/>{}</svg>'


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "wide.svg").write_text(WIDE.format(""))
    (folder / "wide.txt").write_text("a red rectangle")
    return folder


def pixels(dataset, index=0):
    return ((dataset.data(index, np.random.default_rng(0)) + 1) * 127.5).round().byte().numpy()


def test_a_drawing_fits_into_the_picture_on_its_background(root):
    dataset = DrawingFolder(RGB, root, size=8, background="#00f")
    shown = pixels(dataset).transpose(1, 2, 0)
    assert (shown[2:6] == (255, 0, 0)).all()
    assert (shown[[0, 1, 6, 7]] == (0, 0, 255)).all()
    assert dataset.fields["caption"] == ["a red rectangle"]


def test_four_channels_keep_the_background_transparent(root):
    shown = pixels(DrawingFolder(RGBA, root, size=8))
    assert (shown[3, 2:6] == 255).all()
    assert (shown[3, :2] == 0).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WIDE.format('<image href="/etc/secret.png" width="9" height="9"/>'), "refers to other files"),
        (WIDE.format('<s:image x:href="&#x2f;etc/a.png" width="9" height="9"/>'), "refers to other files"),
        (WIDE.format('<é:image x:href="/etc/a.png" width="9" height="9"/>'), "refers to other files"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]>' + WIDE.format("&a;"), "defines entities"),
        ("<svg", "not an SVG, or damaged"),
        ("", "not an SVG, or damaged"),
    ],
)
def test_what_is_no_drawing_of_its_own_is_named(root, content, reason):
    (root / "odd.svg").write_text(content)
    with pytest.raises(InputError, match=rf"odd\.svg: .*{reason}"):
        DrawingPreparation(RGB, 8).prepare(root / "odd.svg")


def test_a_background_that_is_no_colour_is_named():
    with pytest.raises(InputError, match=r"data\.background is a colour .*, not 'nice'"):
        DrawingPreparation(RGB, 8, background="nice")


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    return Emoji(RGB, size=8, cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
def test_emoji_have_their_names_and_aliases(emoji):
    captions = emoji.fields["caption"]
    assert len(emoji) == len(captions) > 1800
    assert ("dog face", "dog") in captions
    assert ("flag of Malta",) in captions
    assert not any("skin" in name for names in captions for name in names)
    dog = captions.index(("dog face", "dog"))
    assert emoji.facts(dog) == {"caption": "dog face"}
    assert {emoji.facts(dog, np.random.default_rng(seed))["caption"] for seed in range(9)} == {"dog face", "dog"}


@pytest.mark.slow
def test_skin_tones_are_one_emoji_that_differs_each_time(emoji):
    captions = emoji.fields["caption"]
    hand = next(index for index, names in enumerate(captions) if "thumbs up" in names)
    shown = {emoji.data(hand, np.random.default_rng(seed)).numpy().tobytes() for seed in range(50)}
    assert len(shown) == 6
    dog = captions.index(("dog face", "dog"))
    assert len({emoji.data(dog, np.random.default_rng(seed)).numpy().tobytes() for seed in range(9)}) == 1
