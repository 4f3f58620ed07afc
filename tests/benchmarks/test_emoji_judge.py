import numpy as np
import pytest
from emoji_judge import Judge, changed

from modalities.image import emoji

FEW = ("dog face", "cat face", "pizza", "rocket", "umbrella", "thumbs up")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """Of few emoji, which are rendered in a moment."""
    names = {code: captions for code, captions in emoji._names().items() if captions[0] in FEW}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(emoji, "_names", lambda: names)
        return Judge()


def drawing(judge, name):
    """The first drawing of an emoji, and its index among the emoji."""
    index = judge.names.index(name)
    return judge.drawings[list(judge.owners).index(index)], index


@pytest.mark.parametrize("name", FEW)
def test_a_changed_drawing_is_read_by_its_name(judge, name):
    picture, index = drawing(judge, name)
    assert judge.rank(changed(picture, np.random.default_rng(0)), index) == 0


def test_the_drawing_of_another_name_is_not(judge):
    picture, _ = drawing(judge, "pizza")
    assert judge.rank(picture, judge.names.index("rocket")) > 0


def test_another_skin_tone_is_read_without_the_drawing_itself(judge):
    toned = np.flatnonzero(judge.owners == judge.names.index("thumbs up"))
    assert len(toned) == 6
    assert judge.rank(judge.drawings[toned[2]], judge.names.index("thumbs up"), without=toned[2]) == 0


def test_the_nearest_drawing_is_the_drawing_itself_unless_left_out(judge):
    picture, index = drawing(judge, "umbrella")
    found, distance = judge.nearest(picture)
    assert (judge.owners[found], distance) == (index, pytest.approx(0, abs=5e-3))  # of the rounding of float32
    assert judge.nearest(picture, without=index)[1] > 0.1
