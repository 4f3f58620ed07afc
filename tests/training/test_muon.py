"""Muon: orthogonal steps for matrices, AdamW's for the rest."""

import copy

import pytest
import torch
from torch import nn

from multidiff.errors import InputError
from multidiff.training.muon import ADAM_SIZE, SMALLEST, Muon, is_matrix, orthogonal


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(40, 64, 3), nn.SiLU(), nn.Conv1d(64, 48, 1, bias=False), nn.Conv1d(48, 4, 1))


def learn(network, optimizer, steps):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(2, 40, 8, generator=generator)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(40, 200), (200, 40), (64, 64)])
def test_singular_vectors_stay_and_singular_values_become_about_one(shape):
    """The polynomial sends [0.05, 1] into [0.68, 1.21] in five iterations; the norm bounds what it starts from by 1."""
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    values = torch.linspace(1, 4, min(shape))
    result = u.mT @ orthogonal(u @ values.diag() @ v) @ v.mT
    assert result.diagonal().min() > 0.65
    assert result.diagonal().max() < 1.25
    assert (result - result.diagonal().diag()).abs().max() < 1e-4


def test_matrices_move_as_torchs_muon_moves_them():
    """It computes in bfloat16, of 8 bits, through five iterations that amplify small singular values 3.4-fold."""
    mine, theirs = (nn.Linear(64, 96) for _ in range(2))
    theirs.load_state_dict(mine.state_dict())
    before = mine.weight.detach().clone()
    optimizers = (
        Muon(mine.parameters(), lr=0.01, weight_decay=0.1),
        torch.optim.Muon([theirs.weight], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        gradient = torch.randn(96, 64, generator=torch.Generator().manual_seed(2))
        mine.bias.grad, mine.weight.grad, theirs.weight.grad = torch.zeros(96), gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved, expected = mine.weight - before, theirs.weight - before
    assert (moved - expected).norm() < 0.05 * expected.norm()


def test_a_step_is_as_large_as_that_of_adamw():
    torch.manual_seed(0)
    layer = nn.Linear(64, 256)
    before = layer.weight.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.randn(256, 64), torch.randn(256)
    Muon(layer.parameters(), lr=0.1, weight_decay=0).step()
    size = (layer.weight - before).square().mean().sqrt().item()
    assert 0.68 * ADAM_SIZE < size / 0.1 < 1.21 * ADAM_SIZE


def test_all_else_moves_as_adamw_moves_it():
    mine = network()
    theirs = copy.deepcopy(mine)
    matrices = {name for name, parameter in mine.named_parameters() if is_matrix(parameter)}
    assert matrices == {"0.weight", "2.weight"}
    muon = Muon(mine.parameters(), lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(
        [p for p in theirs.parameters() if not is_matrix(p)], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1
    )
    for _ in range(3):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        muon.step()
        adamw.step()
    for name, parameter in mine.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name)) == (name not in matrices)


def test_a_gradient_of_zero_leaves_the_decay_alone():
    trained = network()
    before = copy.deepcopy(trained.state_dict())
    for parameter in trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Muon(trained.parameters(), lr=0.02, weight_decay=0.1).step()
    torch.testing.assert_close(trained.state_dict(), {name: 0.998 * value for name, value in before.items()})


def test_a_rate_that_is_set_from_outside_holds_for_all():
    trained = network()
    optimizer = Muon(trained.parameters(), weight_decay=0)
    before = copy.deepcopy(trained.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    learn(trained, optimizer, 1)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_a_state_that_was_saved_goes_on_to_the_bit():
    whole, half = network(), network()
    optimizer = Muon(whole.parameters())
    learn(whole, optimizer, 2)
    half.load_state_dict(whole.state_dict())
    resumed = Muon(half.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for pair in ((whole, optimizer), (half, resumed)):
        learn(*pair, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), half.parameters(), strict=True))


def test_a_network_without_matrices_is_refused():
    with pytest.raises(InputError, match=f"at least {SMALLEST} rows and columns"):
        Muon(nn.Linear(64, 8).parameters())


def test_a_network_of_matrices_alone_learns():
    matrix = nn.Linear(64, 64, bias=False)
    before, optimizer = matrix.weight.clone(), Muon(matrix.parameters())
    matrix(torch.eye(64)).sum().backward()
    optimizer.step()
    assert not torch.equal(matrix.weight, before)
