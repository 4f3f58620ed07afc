"""Conditioners encode what they know, refuse what they do not, and give zeros for the null condition."""

import pytest
import torch

from multidiff.conditioners import Conditioner, LabelConditioner, NumberConditioner, WordConditioner
from multidiff.conditioners.words import words as split_words
from multidiff.errors import InputError


def labels(*names, **settings):
    return LabelConditioner("label", names, **{"dim": 3, **settings})


def words(*names, **settings):
    return WordConditioner("caption", names, **{"dim": 4, "length": 3, **settings})


def test_a_label_is_its_row_and_null_is_zero():
    conditioner = labels("cat", "dog")
    cond = conditioner(["dog", None, "cat", ""])
    rows = conditioner.embedding.weight
    torch.testing.assert_close(cond.vector, torch.stack([rows[1], torch.zeros(3), rows[0], torch.zeros(3)]))
    assert conditioner.vector_dim == 3


def test_an_unknown_label_lists_the_known_ones():
    with pytest.raises(InputError, match="the label 'bird'; it knows: cat, dog"):
        labels("cat", "dog")(["bird"])
    many = labels(*map(str, range(2000)))
    with pytest.raises(InputError, match=r"it knows: 0, 1, .* 19 and 1980 more"):
        many(["bird"])
    with pytest.raises(InputError, match=r"it knows: Rose and 20 more$"):
        labels("Rose", *map(str, range(20)))(["rose"])


def test_values_of_data_that_no_part_accepts_are_told_by_field():
    parts = {"label": labels("cat", "dog"), "caption": words("a", "chair"), "size": NumberConditioner("size", 1, 2)}
    columns = {
        "label": ["bird", "cat", "bird", ""],
        "caption": ["a chair", "a red chair", ""],
        "size": [1.5, 3, None],
        "other": ["any"],
    }
    assert Conditioner(parts).unknown(columns) == {"label": ["bird"], "caption": ["a red chair"], "size": ["3"]}
    assert Conditioner(parts).unknown({"label": ["dog"]}) == {}


def test_words_become_tokens_in_order_whatever_the_batch():
    conditioner = words("a", "chair", "tall")
    alone, together = conditioner(["a tall chair"]), conditioner(["a tall chair", "A chair!", None])
    torch.testing.assert_close(alone.tokens[0], together.tokens[0])
    assert together.mask.sum(1).tolist() == [3, 2, 0]
    assert not together.tokens[2].any()
    assert not torch.equal(conditioner(["a tall"]).tokens, conditioner(["tall a"]).tokens)


def test_only_null_prompts_still_make_a_batch():
    cond = words("a")([None, ""])
    assert cond.tokens.shape == (2, 1, 4)
    assert not cond.mask.any()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a sofa", "the word 'sofa' in the prompt 'a sofa'; it knows: a, chair"),
        ("a a a a", "4 words, and this model reads 3"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused(prompt, message):
    with pytest.raises(InputError, match=message):
        words("a", "chair")([prompt])


def test_equal_numbers_have_equal_vectors_and_close_ones_close_vectors():
    conditioner = NumberConditioner("seconds", low=0.5, high=2.5, dim=8)
    a, b, c, null = conditioner([1.0, "1.0", 1.01, None]).vector
    torch.testing.assert_close(a, b)
    assert 1e-4 < (a - c).norm() < (conditioner([2.5]).vector[0] - a).norm()
    assert not null.any()


def test_numbers_are_told_apart_far_from_zero():
    """Seconds since 1970, of which float32 keeps two minutes."""
    start = 1.7e9
    early, late = NumberConditioner("time", start, start + 60)([start + 20, start + 40]).vector
    assert (early - late).norm() > 1e-2


def test_a_number_outside_of_the_training_data_is_refused_unless_it_extrapolates():
    with pytest.raises(InputError, match=r"seconds=3 is outside of the training data, which run from 0.5 to 2.5"):
        NumberConditioner("seconds", 0.5, 2.5)([3])
    assert NumberConditioner("seconds", 0.5, 2.5, extrapolate=True)([3]).vector.isfinite().all()


@pytest.mark.parametrize("value", ["loud", float("nan"), "inf", [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"seconds is a (finite )?number, got"):
        NumberConditioner("seconds", 0, 1)([value])


def test_settings_come_from_the_data():
    assert LabelConditioner.settings_from("label", ["y", None, "x", "", "y"]) == {"vocabulary": ["x", "y"]}
    assert WordConditioner.settings_from("caption", ["A tall chair.", "a table", ""]) == {
        "vocabulary": ["a", "chair", "table", "tall"],
        "length": 3,
    }
    assert NumberConditioner.settings_from("seconds", [2.0, None, 0.5]) == {"low": 0.5, "high": 2.0}


@pytest.mark.parametrize(
    ("kind", "column", "message"),
    [
        (LabelConditioner, None, "needs labelled data and these have no size"),
        (WordConditioner, ["", ""], "needs captions and these data have no size"),
        (NumberConditioner, [None], "needs that number for the samples, and these data have none"),
        (NumberConditioner, ["big"], "size is a number, got 'big'"),
    ],
)
def test_data_without_the_field_are_refused(kind, column, message):
    with pytest.raises(InputError, match=message):
        kind.settings_from("size", column)


def composed():
    return Conditioner(
        {
            "label": labels("cat", "dog", dropout=0.2),
            "caption": words("a", "cat", dropout=0.5),
            "seconds": NumberConditioner("seconds", 0, 2, dim=5, dropout=0.0),
        }
    )


def test_fields_are_encoded_side_by_side_and_each_may_be_missing():
    conditioner = composed()
    assert conditioner.reads == ("label", "caption", "seconds")
    assert (conditioner.vector_dim, conditioner.token_dim) == (8, 4)
    everything, nothing = {"label": "dog", "caption": "a cat", "seconds": 1.5, "colour": "red"}, {}
    cond = conditioner([everything, {"label": "dog"}, nothing])
    torch.testing.assert_close(cond.vector[0, :3], cond.vector[1, :3])
    assert not cond.vector[1, 3:].any()
    assert not cond.vector[2].any()
    assert cond.mask.sum(dim=1).tolist() == [2, 0, 0]


def test_tokens_of_several_widths_are_padded_to_one():
    conditioner = Conditioner({"a": words("x", dim=2), "b": words("x", dim=4)})
    parts = {field: WordConditioner(field, ["x"], dim, 3) for field, dim in (("a", 2), ("b", 4))}
    cond = Conditioner(parts)([{"a": "x", "b": "x x"}])
    assert conditioner.token_dim == 4
    assert cond.tokens.shape == (1, 3, 4)
    assert not cond.tokens[0, 0, 2:].any()
    assert cond.tokens[0, 1:].all()


def test_each_field_is_hidden_on_its_own_as_often_as_its_dropout_says():
    """4000 samples: rates within five standard deviations, and hidden together as often as independence has it."""
    conditioner, n = composed(), 4000
    sample = {"label": "cat", "caption": "a cat", "seconds": 1.0}
    kept = conditioner.dropped([sample] * n, torch.Generator().manual_seed(0))
    hidden = {name: sum(each[name] is None for each in kept) / n for name in sample}
    both = sum(each["label"] is None and each["caption"] is None for each in kept) / n
    for rate, found in ((0.2, hidden["label"]), (0.5, hidden["caption"]), (0.1, both)):
        assert abs(found - rate) < 5 * (rate * (1 - rate) / n) ** 0.5
    assert hidden["seconds"] == 0
    assert sample["label"] == "cat"


def test_without_fields_there_is_no_condition():
    unconditional = Conditioner({})
    assert unconditional([{"label": "anything"}, {}]) is None
    assert unconditional.describe() == "no condition"
    assert (unconditional.vector_dim, unconditional.token_dim) == (0, 0)


@pytest.mark.parametrize("field", ["type", "keys", "a.b", "tempo-bpm", "été", ""])
def test_a_field_may_have_any_name(field):
    conditioner = Conditioner({field: LabelConditioner(field, ["x"], dim=3)})
    assert conditioner.reads == (field,)
    assert conditioner([{field: "x"}, {}]).vector.any(dim=1).tolist() == [True, False]


def test_a_number_that_is_an_empty_text_is_unknown():
    assert NumberConditioner.settings_from("tempo", ["", 3, None, 5]) == {"low": 3, "high": 5}
    assert not NumberConditioner("tempo", 3.0, 5.0)([""]).vector.any()


@pytest.mark.parametrize("column", [None, [], [None, ""]])
def test_a_column_without_a_class_is_refused(column):
    with pytest.raises(InputError, match=r'these have no genre; add "genre" to metadata\.jsonl'):
        LabelConditioner.settings_from("genre", column)


@pytest.mark.parametrize("settings", [{"vocabulary": []}, {"dim": -1}, {"dropout": 2.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=r"conditioning\.label"):
        LabelConditioner("label", **{"vocabulary": ["a"], "dim": 3, **settings})


@pytest.mark.parametrize(
    ("text", "found"), [("लाल किताब", ["लाल", "किताब"]), ("N\u0303andu\u0301, the_x!", ["ñandú", "the_x"])]
)
def test_words_keep_their_combining_marks(text, found):
    assert split_words(text) == found
