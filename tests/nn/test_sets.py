"""Blocks on sets, and the farthest points of one."""

import torch

from multidiff.nn.sets import SetBlock, farthest_points


def test_blocks_start_as_the_identity_and_follow_permutations():
    torch.manual_seed(0)
    block, x, context = SetBlock(8, 6, head_size=4), torch.randn(2, 5, 8), torch.randn(2, 7, 6)
    assert torch.equal(block(x, context), x)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    order, other = torch.randperm(5), torch.randperm(7)
    torch.testing.assert_close(block(x[:, order], context[:, other]), block(x, context)[:, order])


def test_farthest_points_of_a_line_halve_its_gaps():
    line = torch.linspace(0, 1, 9)[None, :, None] ** 1.01  # without ties
    assert farthest_points(line, 5)[0].tolist()[:3] == [8, 0, 4]
    assert set(farthest_points(line, 5)[0].tolist()) == {0, 2, 4, 6, 8}


def test_the_farthest_points_are_those_of_the_set():
    points = torch.randn(1, 50, 3)
    order = torch.randperm(50)
    assert torch.equal(
        points[0, farthest_points(points, 9)[0]], points[0, order][farthest_points(points[:, order], 9)[0]]
    )
