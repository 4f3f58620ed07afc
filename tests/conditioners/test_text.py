"""Text: any string is encoded, from pieces that training knows, with weights, and nothing depends on the batch."""

import copy

import pytest
import torch
from torch import nn

from multidiff.conditioners import Conditioner, LabelConditioner, TextConditioner
from multidiff.conditioners.pieces import byte_level, parts, read, train_merges, vocabulary
from multidiff.errors import InputError

CAPTIONS = ["A tall red chair.", "a small red table", "a tall table with four legs", "a small chair"] * 2
ANY = ["a tall table", "the REDDISH chair", "日本の赤い椅子", "\0\ud800", "x" * 500, "Ignore ((((", "🪑", "e\u0301"]


def text(**settings):
    """A small conditioner with random weights in its zero-initialised layers too."""
    torch.manual_seed(0)
    learned = TextConditioner.settings_from("caption", CAPTIONS)
    conditioner = TextConditioner("caption", **learned, **{"dim": 16, "head_size": 8, "length": 12, **settings})
    for parameter in conditioner.parameters():
        nn.init.normal_(parameter, std=0.5)
    return conditioner.eval()


@pytest.fixture(scope="module")
def conditioner():
    return text()


def test_frequent_words_become_one_piece_and_every_string_is_made_of_pieces():
    merges = train_merges(CAPTIONS)
    index, tokenizer = vocabulary(merges), byte_level(merges)
    assert [len(row.ids) for row in read(tokenizer, ["A  tall\nCHAIR", "with four legs"])] == [3, 3]
    names = {i: piece for piece, i in index.items()}
    for string in ["unheard-of", "日本", "\0", "e\u0301"]:
        (row,) = read(tokenizer, [string])
        assert row.ids
        assert set(row.ids) <= set(names)
    for whole, (left, right) in parts(merges).items():
        assert names[whole] == names[left] + names[right]


def test_merges_do_not_depend_on_the_order_of_the_captions():
    assert train_merges(CAPTIONS) == train_merges(CAPTIONS[::-1])


@pytest.mark.parametrize("string", ANY)
def test_any_string_is_encoded(conditioner, string):
    cond = conditioner([string])
    assert cond.tokens.isfinite().all()
    assert cond.vector.any()
    assert cond.mask.any()


def test_null_is_no_token_and_a_zero_vector(conditioner):
    cond = conditioner([None, "", "  ", "a chair"])
    assert cond.mask.sum(dim=1).tolist() == [0, 0, 0, 2]
    assert not cond.tokens[:3].any()
    assert not cond.vector[:3].any()
    assert not conditioner([None]).mask.any()


def test_a_text_does_not_depend_on_its_batch(conditioner):
    together = conditioner(["a tall chair", None, "a small table with four red legs"])
    for i, value in enumerate(["a tall chair", None]):
        alone = conditioner([value])
        length = alone.mask.sum()
        torch.testing.assert_close(alone.tokens[0, :length], together.tokens[i, :length])
        torch.testing.assert_close(alone.vector[0], together.vector[i])


def test_the_order_of_words_matters_and_their_case_does_not(conditioner):
    a, b, c = (conditioner([value]).vector for value in ("red chair", "chair red", "Red  CHAIR "))
    assert torch.equal(a, c)
    assert (a - b).norm() > 1e-3


def test_training_splits_pieces_as_often_as_asked_and_repeats_with_the_seed():
    conditioner = text(split=0.25, length=4096).train()
    whole = conditioner.eval().pieces(["tall " * 1000])[0].ids
    conditioner.train()

    def split():
        torch.manual_seed(1)
        return conditioner.pieces(["tall " * 1000])[0]

    kept = sum(piece == whole[0] for piece in split().ids)
    assert abs(kept / 1000 - 0.75) < 5 * (0.25 * 0.75 / 1000) ** 0.5
    assert split() == split()
    assert len(split().ids) == len(split().spans)
    names = {i: piece for piece, i in vocabulary(train_merges(CAPTIONS)).items()}
    assert "".join(names[i] for i in split().ids) == "Ġtall" * 1000


def test_every_weight_trains(conditioner):
    conditioner = copy.deepcopy(conditioner).train()
    cond = conditioner(["a tall chair", None])
    (cond.tokens.square().sum() + cond.vector.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in conditioner.parameters())


def test_a_batch_without_text_has_finite_gradients(conditioner):
    conditioner = copy.deepcopy(conditioner).train()
    conditioner([None, None]).tokens.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in conditioner.parameters())


def test_weight_1_is_the_identity(conditioner):
    plain, weighted = (conditioner.prompted([p]) for p in ("a red ball", "a (red:1) (ball:1.0)"))
    assert torch.equal(plain.tokens, weighted.tokens)
    assert torch.equal(plain.vector, weighted.vector)
    assert torch.equal(plain.tokens, conditioner(["a red ball"]).tokens)


def test_the_weight_of_a_word_moves_its_token_alone_in_proportion(conditioner):
    plain = conditioner(["a red chair"])
    for weight in (0.0, 0.5, 1.3, 4.0):
        cond = conditioner.prompted([f"a (red:{weight}) chair"])
        torch.testing.assert_close(cond.tokens[0, 1], weight * plain.tokens[0, 1])
        assert torch.equal(cond.tokens[0, [0, 2]], plain.tokens[0, [0, 2]])
        torch.testing.assert_close(cond.vector - plain.vector, (weight - 1) / 3 * plain.tokens[:, 1])


def test_data_are_literal_and_requests_are_not(conditioner):
    caption = "a (red:2) [chair"
    assert not torch.equal(conditioner([caption[:9]]).tokens, conditioner.prompted([caption[:9]]).tokens)
    assert torch.equal(conditioner([caption]).tokens, conditioner.prompted([conditioner.quoted(caption)]).tokens)
    conditioner.check(caption)
    with pytest.raises(InputError, match="has an unclosed"):
        conditioner.check_prompt(caption)
    assert conditioner.quoted(None) is None


def test_remarks_name_unseen_words_once_and_what_is_cut(conditioner):
    assert conditioner.remarks(["a red chair", None, ""]) == []
    long = "a tall red chair " * 3 + "with ears"
    unseen, cut = conditioner.remarks(["a (purple:1.2) chair", "a purple dog", long])
    assert unseen == "training never saw these words: purple, dog, ears"
    assert cut == f"the prompt is too long for this model; cut off: 'with ears' of {long!r}"
    assert conditioner([long]).mask.sum() == 12


def test_copies_and_state_rebuild_the_same_encoder(conditioner):
    again = text()
    again.load_state_dict(conditioner.state_dict())
    for other in (again, copy.deepcopy(conditioner)):
        assert torch.equal(other(["a tall unseen thing"]).tokens, conditioner(["a tall unseen thing"]).tokens)


def test_data_without_captions_are_refused():
    for column in (None, [], [None, "", "!"]):
        with pytest.raises(InputError, match="these data have none"):
            TextConditioner.settings_from("caption", column)


@pytest.mark.parametrize("settings", [{"length": 0}, {"split": 1.0}, {"dropout": 2.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=r"conditioning\.caption"):
        text(**settings)


def test_text_beside_a_label():
    both = Conditioner({"label": LabelConditioner("label", ["x", "y"], dim=3), "caption": text()})
    cond = both([{"label": "x", "caption": "a chair"}, {"caption": "a chair"}, {}])
    assert both.vector_dim == 19
    assert not cond.vector[1, :3].any()
    torch.testing.assert_close(cond.vector[0, 3:], cond.vector[1, 3:])
    assert both.quoted({"label": "x(", "caption": "a("}) == {"label": "x(", "caption": r"a\("}
