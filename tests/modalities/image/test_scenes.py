import re
from random import Random

import numpy as np
import pytest

from modalities.image.modality import ImageModality
from modalities.image.scenes.captions import captions
from modalities.image.scenes.data import EmojiScenes
from modalities.image.scenes.objects import COLOURS, KINDS
from modalities.image.scenes.scene import Scene, Thing, scene
from modalities.image.scenes.sprites import recoloured
from multidiff.errors import InputError

RGB = ImageModality(3)
DOT = '<svg viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg">{}</svg>'


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Few objects, which are made in a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        few = {name: KINDS[name] for name in ("dog", "car", "octopus", "heart", "burger")}
        for module in ("scene", "sprites"):
            patch.setattr(f"modalities.image.scenes.{module}.KINDS", few)
        patch.setattr("modalities.image.scenes.scene.CONTAINERS", ("heart",))
        yield


def scenes(count, split="train", seed=0):
    return [scene(seed, index, split) for index in range(count)]


def test_a_scene_depends_on_seed_and_index_alone():
    few, many = EmojiScenes(RGB, count=3), EmojiScenes(RGB, count=5)
    random = np.random.default_rng()
    for index in range(3):
        assert few.scenes[index] == many.scenes[index]
        assert few.facts(index) == many.facts(index)
        assert few.data(index, random).equal(many.data(index, random))
    assert EmojiScenes(RGB, count=3, seed=1).scenes != few.scenes
    assert few.data(0, random).shape == few.shape == (3, 32, 32)


def test_training_never_shows_what_is_held_out():
    assert not any(each.held_out for each in scenes(300))
    assert all(each.held_out for each in scenes(50, "test"))


def test_a_relation_and_its_opposite_are_held_out_together():
    dog, car = (Thing(name, None, None, 15, ((8, 8),)) for name in ("dog", "car"))
    for one, other in (("left of", "right of"), ("above", "below")):
        assert Scene("white", (dog, car), one).held_out == Scene("white", (car, dog), other).held_out


def test_every_word_of_a_caption_is_true():
    sizes = {"small": "small", "little": "small", "big": "big", "large": "big"}
    numbers = {"two": 2, "three": 3}
    for each in scenes(100):
        for text in captions(each, Random(0)):
            ground = re.search(r"(?:, | a )(\w+) background$", text)
            assert ground is None or ground[1] == each.background
            words = (text[: ground.start()] if ground else text).split()
            assert sorted(COLOURS.keys() & set(words)) == sorted({thing.colour for thing in each.things} - {None})
            assert {sizes[word] for word in words if word in sizes} == {thing.size for thing in each.things} - {None}
            assert [numbers[word] for word in words if word in numbers] == [each.count] * (each.count > 1)
            assert all(thing.name in text for thing in each.things)


def test_things_are_where_their_relation_says():
    for each in scenes(100):
        if each.relation:
            (x, y), (other_x, other_y) = (thing.places[0] for thing in each.things)
            right, down = x - other_x, y - other_y
            true = {"left of": right < -8, "right of": right > 8, "above": down < -8, "below": down > 8}
            assert true.get(each.relation, right == down == 0)


def test_the_hue_that_covers_most_is_replaced_in_light_and_dark():
    light, dark, other = (
        '<rect width="9" height="9" fill="#f66"/>',
        '<rect width="1" height="9" fill="#800000"/>',
        "#00ff00",
    )
    svg = DOT.format(light + dark + f'<circle r="1" fill="{other}" stroke="#000"/>')
    new = recoloured(svg, "#0000ff")
    assert set(re.findall("#[0-9a-f]+", new)) == {"#0000ff", "#000080", other, "#000"}


def test_only_the_layouts_asked_for_are_drawn():
    single = EmojiScenes(RGB, count=50, layouts=["single"]).scenes
    assert all(len(each.things) == each.count == 1 for each in single)
    assert {each.relation for each in EmojiScenes(RGB, count=50, layouts=["nested"]).scenes} == {"inside"}


def test_a_drawing_in_black_stays_as_it_is():
    svg = DOT.format('<circle r="3" fill="#000"/>')
    assert recoloured(svg, "#0000ff") == svg


@pytest.mark.parametrize(
    ("setting", "saying"),
    [
        ({"size": 16}, "at least 32, not 16"),
        ({"count": 0}, "at least 1"),
        ({"split": "all"}, "one of train, test"),
        ({"layouts": ["heap"]}, "layouts is one of single, .*, not 'heap'"),
        ({"layouts": []}, "no layout"),
    ],
)
def test_settings_that_cannot_be_used_are_named(setting, saying):
    with pytest.raises(InputError, match=saying):
        EmojiScenes(RGB, **setting)
