"""The notation of weights: what it means, and that it can always be quoted."""

import pytest

from multidiff.conditioners.prompts import EMPHASIS, literal, parse, quoted
from multidiff.errors import InputError


def weights_by_word(prompt):
    """The text, and the weight of the first character of each word."""
    found = parse(prompt)
    starts = [i for i, char in enumerate(found.text) if char != " " and (i == 0 or found.text[i - 1] == " ")]
    return found.text, [found.weights[i] for i in starts]


@pytest.mark.parametrize(
    ("prompt", "text", "weights"),
    [
        ("a red ball", "a red ball", [1, 1, 1]),
        ("a (red:1.3) ball", "a red ball", [1, 1.3, 1]),
        ("a (red) ball", "a red ball", [1, EMPHASIS, 1]),
        ("a [red] ball", "a red ball", [1, 1 / EMPHASIS, 1]),
        ("((a) cat:2)", "a cat", [EMPHASIS * 2, 2]),
        ("((a cat:0.5) b:4)", "a cat b", [2, 2, 4]),
        ("(a b: .5 )", "a b", [0.5, 0.5]),
        ("(half past 10:30:2)", "half past 10:30", [2, 2, 2]),
        (r"a \(red:1.3\) ball", "a (red:1.3) ball", [1, 1, 1]),
        (r"(4\:3)", "4:3", [EMPHASIS]),
        (r"C:\dogs", r"C:\dogs", [1]),
        ("", "", []),
        ("(red:0)", "red", [0]),
        ("(:1.3) a", " a", [1]),
    ],
)
def test_weights_of_words(prompt, text, weights):
    found, values = weights_by_word(prompt)
    assert found == text
    assert values == pytest.approx(weights)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a (red:1,3) ball", "the weight '1,3'"),
        ("(red:)", "the weight ''"),
        ("(red:-1)", "the weight '-1'"),
        ("(red:nan)", "the weight 'nan'"),
        ("(red:1e9)", "not a number from 0 to 10"),
        ("a (red", r"has an unclosed '\('"),
        ("a red)", r"has an unmatched '\)'"),
        ("(a]", "has an unmatched ']'"),
    ],
)
def test_a_malformed_weight_is_refused_in_one_line(prompt, message):
    with pytest.raises(InputError, match=message) as refusal:
        parse(prompt)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["a red ball", "(a:2) [b] \\(c\\) \\", ":)", "\\\\\\(", "((", "", "日本 (赤)\n"])
def test_quoted_text_is_literal(text):
    assert parse(quoted(text)) == literal(text)
