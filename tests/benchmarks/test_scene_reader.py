import pytest
from scene_reader import Reader, score

from modalities.image.modality import ImageModality
from modalities.image.scenes.data import EmojiScenes
from modalities.image.scenes.objects import KINDS

FEW = {name: KINDS[name] for name in ("dog", "car", "octopus", "heart", "burger", "star")}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Few objects, which are made and matched in a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        for module in ("modalities.image.scenes.scene", "modalities.image.scenes.sprites", "scene_reader"):
            patch.setattr(f"{module}.KINDS", FEW)
        patch.setattr("modalities.image.scenes.scene.CONTAINERS", ("heart", "star"))
        yield EmojiScenes(ImageModality(3), count=16)


@pytest.fixture(scope="module")
def reader(scenes):
    return Reader(scenes.painter)


def facts(reader, scene, picture):
    return [fact for values in score(scene, reader(picture)).values() for fact in values]


def test_real_scenes_are_read_right(scenes, reader):
    found = [fact for each in scenes.scenes for fact in facts(reader, each, scenes.painter(each))]
    assert sum(found) > 0.98 * len(found)


def test_pictures_of_other_scenes_are_not(scenes, reader):
    """Six objects, eight colours: by chance, few facts are right."""
    pairs = zip(scenes.scenes, scenes.scenes[1:], strict=False)
    found = [fact for each, other in pairs for fact in facts(reader, each, scenes.painter(other))]
    assert sum(found) < 0.4 * len(found)


def test_an_empty_picture_shows_no_object(scenes, reader):
    for each in scenes.scenes[:5]:
        empty = scenes.painter(each.__class__(each.background, ()))
        assert reader(empty).found == ()
        assert reader(empty).background == each.background
