from types import SimpleNamespace

import numpy as np
import pytest
from prompt_judge import Case, Judge, Subject, conditions, judged

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def judge():
    """Of pairs: the kind is the sign of the first number, the second is the length."""
    pairs = [np.array([sign, length]) for sign in (-1.0, 1.0) for length in RANDOM.uniform(0, 1, 20)]
    cases = [case(pair, "short" if pair[1] < 0.5 else "long") for pair in pairs]
    subject = Subject(lambda count, seed: (pairs, cases), lambda pair: pair[:1], measures)
    return Judge(subject, pairs, cases)


def measures(kind, pair):
    return {"length": pair[1], "legs": pair[1]}


def case(pair, length):
    return Case("", "plus" if pair[0] > 0 else "minus", {"length": length})


def test_a_word_is_on_the_side_of_real_samples_with_it(judge):
    long = Case("a long plus", "plus", {"length": "long"})
    assert judge(np.array([1.0, 0.9]), long) == {"kind": True, "length": True}
    assert judge(np.array([1.0, 0.1]), long) == {"kind": True, "length": False}
    assert judge(np.array([-1.0, 0.9]), long) == {"kind": False, "length": True}


def test_a_count_is_exact(judge):
    three = Case("a plus with three legs", "plus", {"legs": "three"})
    assert judge(np.array([1.0, 3]), three)["legs"]
    assert not judge(np.array([1.0, 4]), three)["legs"]


def test_shares_are_of_the_prompts_that_name_an_attribute(judge):
    cases = [Case("", "plus", {"length": "long"}), Case("", "plus", {}), Case("", "minus", {"length": "long"})]
    rows = judged(judge, [np.array([1.0, 0.9])] * 3, cases)
    assert rows["all"] == {"kind": [2 / 3, 3], "length": [1, 2]}
    assert rows["plus"] == {"kind": [1, 2], "length": [1, 1]}


@pytest.mark.parametrize("reads", [("caption",), ("label", "caption")])
def test_classes_are_judged_by_the_kind_alone(reads):
    pipeline = SimpleNamespace(model=SimpleNamespace(conditioner=SimpleNamespace(reads=reads)))
    given = conditions(pipeline, [Case("a long plus", "plus", {"length": "long"})])
    assert given["prompts"] == ({"prompt": ["a long plus"]}, [Case("a long plus", "plus", {"length": "long"})])
    assert given.get("classes") == (({"label": ["plus"]}, [Case("", "plus", {})]) if "label" in reads else None)
