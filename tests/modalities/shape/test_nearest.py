import logging

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from modalities.shape import nearest
from modalities.shape.nearest import WORTH_COMPILING, in_blocks, nearest_for


def clouds(count, points, seed):
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(seed))


CASES = [(1, 70, 5, 130), (5, 130, 1, 70), (3, 200, 3, 200)]


@pytest.mark.parametrize(("n", "points", "m", "others"), CASES)
def test_blocks_agree_with_all_distances_at_once(n, points, m, others):
    x, y = clouds(n, points, 0), clouds(m, others, 1)
    expected = torch.cdist(x.double(), y.double()).square().amin(dim=-1)
    torch.testing.assert_close(in_blocks(x, y).double(), expected, rtol=1e-6, atol=0)


@pytest.mark.slow  # compilation takes about 25 s
def test_compilation_changes_no_digit():
    compiled = nearest.compiled()
    for n, points, m, others in CASES:
        x, y = clouds(n, points, 0), clouds(m, others, 1)
        assert torch.equal(compiled(x, y), in_blocks(x, y))


def test_only_much_work_is_worth_compiling():
    assert nearest_for(int(WORTH_COMPILING) - 1) is in_blocks
    assert nearest_for(int(WORTH_COMPILING)) is nearest.compiled()


def test_without_a_compiler_the_result_is_the_same(monkeypatch, caplog):
    def fails(*arguments):
        raise TorchDynamoException("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", lambda function, **options: fails)
    x, y = clouds(1, 30, 0), clouds(4, 20, 1)
    with caplog.at_level(logging.WARNING):
        squares = nearest.compiled.__wrapped__()(x, y)
    assert torch.equal(squares, in_blocks(x, y))
    assert [record.getMessage() for record in caplog.records] == [
        "distances between clouds cannot be compiled and take several times as long: no compiler"
    ]
