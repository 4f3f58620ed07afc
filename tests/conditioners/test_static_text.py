"""Frozen word vectors: unknown words lie near their synonyms, and the table is neither trained nor saved."""

import copy

import pytest
import torch
import torch.nn.functional as F

from multidiff.conditioners import StaticTextConditioner
from multidiff.errors import InputError

pytest.importorskip("wordllama")
CAPTIONS = ["a red dog", "a tall chair"]


@pytest.fixture(scope="module")
def conditioner():
    torch.manual_seed(0)
    learned = StaticTextConditioner.learned({}, "caption", CAPTIONS)
    conditioner = StaticTextConditioner("caption", **learned, dim=16, head_size=8, length=5)
    for parameter in conditioner.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return conditioner.eval()


@pytest.mark.parametrize(("word", "near", "far"), [("puppy", "dog", "chair"), ("kitten", "cat", "red")])
def test_synonyms_lie_near_each_other_before_any_training(word, near, far):
    torch.manual_seed(0)
    learned = StaticTextConditioner.learned({}, "caption", CAPTIONS)
    states = StaticTextConditioner("caption", **learned, dim=64)([word, near, far]).vector
    assert F.cosine_similarity(states[0], states[1], dim=0) > 0.3 + F.cosine_similarity(states[0], states[2], dim=0)


def test_a_word_is_one_token_whatever_its_case_and_the_batch(conditioner):
    together = conditioner(["A tall Puppy!", None, "dog"])
    assert together.mask.sum(dim=1).tolist() == [4, 0, 1]
    alone = conditioner(["a TALL puppy!"])
    torch.testing.assert_close(alone.tokens[0], together.tokens[0])
    torch.testing.assert_close(conditioner(["dog"]).vector[0], together.vector[2])
    assert not conditioner([None, ""]).tokens.any()


@pytest.mark.parametrize("text", ["日本の赤い椅子", "\0\ud800", "🪑", ")(", "é", "_"])
def test_any_string_is_encoded(conditioner, text):
    cond = conditioner([text])
    assert cond.mask.any()
    assert cond.tokens.isfinite().all()


def test_weights_and_cut_texts(conditioner):
    plain, one, strong = (conditioner.prompted([p]) for p in ("a red dog", "a (red:1) dog", "a (red:2) dog"))
    assert torch.equal(plain.tokens, one.tokens)
    torch.testing.assert_close(strong.tokens[0] / plain.tokens[0], torch.tensor([1.0, 2.0, 1.0])[:, None].expand(3, 16))
    unseen, cut = conditioner.remarks(["a red dog and a puppy, too"])
    assert (unseen, cut.partition("; ")[2]) == (
        "training never saw these words: and, puppy, too",
        "cut off: 'puppy, too' of 'a red dog and a puppy, too'",
    )


def test_the_table_is_neither_trained_nor_saved_nor_copied(conditioner):
    assert set(conditioner.state_dict()) == {name for name, _ in conditioner.named_parameters()}
    assert sum(parameter.numel() for parameter in conditioner.parameters()) < 32000
    assert copy.deepcopy(conditioner).table.module is conditioner.table.module


def test_another_table_is_refused():
    learned = StaticTextConditioner.learned({}, "caption", CAPTIONS)
    with pytest.raises(InputError, match="other word vectors"):
        StaticTextConditioner("caption", **{**learned, "sha256": "0" * 64}, dim=16)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("multidiff.conditioners.static_text.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"multidiff-toolkit\[text\]"):
        StaticTextConditioner.learned({}, "caption", CAPTIONS)
