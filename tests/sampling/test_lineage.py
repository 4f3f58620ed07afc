"""The licence of a model card, which what is made from the model keeps."""

import pytest

from multidiff.sampling.lineage import licence_head, licence_in


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: cc-by-sa-4.0\n", "cc-by-sa-4.0"),
        ("license: other\n", "other"),
        (
            "license: other\nlicense_name: flux-1-dev-non-commercial-license\n",
            "other (flux-1-dev-non-commercial-license)",
        ),
        ("", None),
    ],
)
def test_the_licence_of_a_card_comes_back_from_the_card_that_keeps_it(head, licence):
    """One without an identifier of its own keeps its name."""
    assert licence_in(f"---\n{head}tags: [diffusion]\n---\n\n# A model\n") == licence
    assert licence_head(licence or "") == head


def test_an_identifier_needs_no_name():
    assert licence_in("---\nlicense: mit\nlicense_name: something\n---\n") == "mit"
