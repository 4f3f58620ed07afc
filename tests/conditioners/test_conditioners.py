"""Conditioners encode what they know, refuse what they do not, and mean nothing by the null condition."""

import pytest
import torch

from multidiff.conditioners import LabelConditioner, Unconditional, WordConditioner
from multidiff.errors import InputError


def test_a_label_is_its_row_and_null_is_zero():
    conditioner = LabelConditioner(["cat", "dog"], dim=3)
    cond = conditioner(["dog", None, "cat"])
    rows = conditioner.embedding.weight
    torch.testing.assert_close(cond.vector, torch.stack([rows[1], torch.zeros(3), rows[0]]))
    assert conditioner.vector_dim == 3


def test_an_unknown_label_lists_the_known_ones():
    with pytest.raises(InputError, match="'bird'; it knows: cat, dog"):
        LabelConditioner(["cat", "dog"], dim=3)(["bird"])


def test_words_become_tokens_in_order_whatever_the_batch():
    conditioner = WordConditioner(["a", "chair", "tall"], dim=4, length=3)
    alone, together = conditioner(["a tall chair"]), conditioner(["a tall chair", "A chair!", None])
    torch.testing.assert_close(alone.tokens[0], together.tokens[0])
    assert together.mask.sum(1).tolist() == [3, 2, 0]
    assert not together.tokens[2].any()
    assert not torch.equal(conditioner(["a tall"]).tokens, conditioner(["tall a"]).tokens)


def test_only_null_prompts_still_make_a_batch():
    cond = WordConditioner(["a"], dim=4, length=2)([None, ""])
    assert cond.tokens.shape == (2, 1, 4)
    assert not cond.mask.any()


def test_an_unknown_word_lists_the_known_ones():
    with pytest.raises(InputError, match="the word 'sofa' in the prompt 'a sofa'; it knows: a, chair"):
        WordConditioner(["a", "chair"], dim=4, length=2)(["a sofa"])


def test_a_prompt_longer_than_the_model_is_refused():
    with pytest.raises(InputError, match="3 words, and this model reads 2"):
        WordConditioner(["a"], dim=4, length=2)(["a a a"])


def test_settings_come_from_the_data():
    assert LabelConditioner.settings_from(["x", "y"], []) == {"vocabulary": ["x", "y"]}
    assert WordConditioner.settings_from([], ["A tall chair.", "a table"]) == {
        "vocabulary": ["a", "chair", "table", "tall"],
        "length": 3,
    }
    assert Unconditional.settings_from([], []) == {}


@pytest.mark.parametrize(("kind", "missing"), [(LabelConditioner, "labels"), (WordConditioner, "captions")])
def test_data_without_conditions_is_refused(kind, missing):
    with pytest.raises(InputError, match=f"no.*{missing}|{missing} and this data has none"):
        kind.settings_from([], ["", ""])


def test_unconditional_asks_for_nothing():
    assert Unconditional()(["anything", None]) is None
