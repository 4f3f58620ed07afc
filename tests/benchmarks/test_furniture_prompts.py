import numpy as np
import pytest
from furniture_measures import MEASURES, Shape
from furniture_prompts import SAID, said
from prompt_judge import COUNTS

from modalities.shape.furniture import LABELS, make
from modalities.shape.solids import box, cylinder, lathe, sample_union

GREY = (0.5, 0.5, 0.5)


def measured(kind, parts, count=4000):
    return MEASURES[kind](Shape.of(sample_union(parts, count, np.random.default_rng(0))))


@pytest.mark.parametrize("legs", [1, 3, 4])
def test_a_table(legs):
    top = cylinder(0.5, 0.06, GREY).moved(y=0.64)
    angles = np.arange(legs) * 2 * np.pi / legs
    places = [(0.3 * np.sin(a), 0.3 * np.cos(a)) for a in angles] if legs > 1 else [(0, 0)]
    foot = [cylinder(0.2, 0.03, GREY)] if legs == 1 else []
    found = measured("table", [top, *(cylinder(0.03, 0.65, GREY).moved(x, 0, z) for x, z in places), *foot])
    assert found["legs"] == legs
    assert found["height"] == pytest.approx(0.7, rel=0.03)
    assert found["thickness"] == pytest.approx(0.06, rel=0.05)
    assert found["form"] == 0


def test_a_rectangular_table_has_corners():
    top = box((1, 0.06, 0.6), GREY).moved(y=0.67)
    corners = [(x, z) for x in (-0.4, 0.4) for z in (-0.2, 0.2)]
    found = measured("table", [top, *(box((0.06, 0.65, 0.06), GREY).moved(x, 0.325, z) for x, z in corners)])
    assert found["form"] > 0.02
    assert found["legs"] == 4


def test_a_bottle():
    outline = [(0, 0), (1, 0), (1, 4), (0.3, 5), (0.3, 6.5), (0, 6.5)]
    found = measured("bottle", [lathe(outline, GREY)])
    assert found["height"] == pytest.approx(4, rel=0.03)
    assert found["neck width"] == pytest.approx(0.3, rel=0.03)
    assert found["neck length"] == pytest.approx(1.5, rel=0.05)
    assert found["shoulders"] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("label", LABELS)
def test_every_word_for_a_size_is_read_from_the_captions(label):
    for seed in range(10):
        piece = make(label, np.random.default_rng(seed))
        assert set(said(label, piece.captions[-1])) >= set(SAID[label]) - {"slats"}
        assert set(said(label, piece.caption)) <= set(SAID[label])


@pytest.mark.parametrize("label", ["bed", "chair", "shelf", "table"])
def test_counts_of_real_pieces_agree_with_their_captions(label):
    for seed in range(5):
        piece = make(label, np.random.default_rng(seed))
        found = measured(label, piece.parts)
        counted = {name: COUNTS[word] for name, word in said(label, piece.captions[-1]).items() if word in COUNTS}
        assert {name: found[name] for name in counted} == counted
