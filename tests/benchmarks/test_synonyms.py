import re
from random import Random

import pytest
import torch
from synonyms import SYNONYMS, reworded

from modalities.image.scenes.captions import captions
from modalities.image.scenes.scene import scene


def test_no_caption_holds_a_synonym_and_some_hold_the_word():
    spoken = {word for i in range(3000) for text in captions(scene(0, i, "train"), Random(i)) for word in text.split()}
    assert not spoken & set(SYNONYMS.values())
    assert set(SYNONYMS) <= {word.strip(",") for word in spoken}


def test_synonyms_are_near_in_wordllama():
    static = pytest.importorskip("multidiff.conditioners.static_text")
    pytest.importorskip("wordllama")
    encoder = static.StaticTextConditioner(
        "caption", **static.StaticTextConditioner.learned({}, "caption", ["a"]), dim=32
    )
    table = encoder.table.module.weight
    vectors = {
        word: torch.nn.functional.normalize(table[encoder._ids(word)].mean(dim=0), dim=0)
        for word in {*SYNONYMS, *SYNONYMS.values()}
    }
    far = [word for word, synonym in SYNONYMS.items() if vectors[word] @ vectors[synonym] < 0.395]
    assert not far


def test_one_word_is_replaced_with_its_article():
    assert reworded("a small car", Random(1)) in ("a tiny car", "a small automobile")
    assert reworded("a car above a pear", Random(0)) == "an automobile above a pear"
    assert reworded("three pears", Random(0)) is None
    assert len(re.findall("huge|puppy", reworded("a big dog", Random(0)))) == 1
