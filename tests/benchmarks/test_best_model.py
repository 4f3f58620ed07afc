"""What a score is worth that chooses the best model."""

import pytest
from best_model import choice


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([3.0, 2.0, 1.0, 1.5], {"correlation": 1.0, "lost": 1.0}),
        ([1.0, 2.0, 4.0, 3.0], {"correlation": -1.0, "lost": 4.0}),
        ([2.0, 3.0, 1.0, 0.5], {"correlation": 0.6, "lost": 1.5}),
    ],
)
def test_a_score_is_worth_its_ranks_and_what_its_choice_scores(costs, expected):
    assert choice(costs, [8.0, 4.0, 2.0, 3.0]) == pytest.approx(expected)
