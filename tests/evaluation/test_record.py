"""The record of an evaluation is JSON also where a score is not finite, and a split takes no negative seed."""

import json
import math

import pytest

from multidiff.data.split import split
from multidiff.errors import InputError
from multidiff.evaluation.evaluation import _finite


def test_scores_that_are_not_finite_are_null():
    record = {"a": [1.0, math.nan], "b": {"c": math.inf, "d": "x"}, "e": (1, None)}
    assert json.loads(json.dumps(_finite(record), allow_nan=False)) == {
        "a": [1.0, None],
        "b": {"c": None, "d": "x"},
        "e": [1, None],
    }


def test_a_negative_seed_of_the_split_is_refused():
    with pytest.raises(InputError, match="seed of the split must be at least 0, got -1"):
        split(10, 0.5, -1)
