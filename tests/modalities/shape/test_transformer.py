import pytest
import torch
from torch import Tensor, nn

from modalities.shape.transformer import LatentPointTransformer, PointTransformer
from multidiff.diffusion.conditioning import Conditioning

BATCH, CHANNELS, POINTS, VECTOR, TOKEN = 3, 6, 20, 5, 7
SMALL = {"width": 16, "head_size": 8, "octaves": 2}
KINDS = {
    "latent": (LatentPointTransformer, {"latents": 4, "latent_width": 24, "rounds": 2, "latent_blocks": 1}),
    "plain": (PointTransformer, {"depth": 2}),
}


def make_network(kind: str, *, vector_dim: int = VECTOR, token_dim: int = TOKEN, randomised: bool = True) -> nn.Module:
    """A small network with random weights in its zero layers too, so that every path affects the output."""
    torch.manual_seed(0)
    network_class, settings = KINDS[kind]
    network = network_class(channels=CHANNELS, vector_dim=vector_dim, token_dim=token_dim, **SMALL, **settings)
    if randomised:
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture(params=KINDS)
def network(request) -> nn.Module:
    return make_network(request.param)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, CHANNELS, POINTS)


@pytest.fixture
def log_snr() -> Tensor:
    return torch.linspace(-2, 3, BATCH)


@pytest.fixture
def cond() -> Conditioning:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return Conditioning(torch.randn(BATCH, VECTOR), torch.randn(BATCH, 3, TOKEN), mask)


def test_permuting_the_points_permutes_the_output(network, x, log_snr, cond):
    order = torch.randperm(POINTS)
    torch.testing.assert_close(network(x[..., order], log_snr, cond), network(x, log_snr, cond)[..., order])


@pytest.mark.parametrize("points", [1, 7, 100])
def test_the_output_has_as_many_points_as_the_input(network, log_snr, cond, points):
    x = torch.randn(BATCH, CHANNELS, points)
    assert network(x, log_snr, cond).shape == x.shape


def test_doubling_every_point_changes_nothing(network, x, log_snr, cond):
    """Attention to a set is a weighted mean: the density of the points does not matter."""
    twice = torch.cat([x, x], dim=-1)
    torch.testing.assert_close(network(twice, log_snr, cond)[..., :POINTS], network(x, log_snr, cond))


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_initially_zero(kind, x, log_snr):
    assert not make_network(kind, randomised=False)(x, log_snr).any()


def test_every_parameter_has_a_gradient(network, x, log_snr, cond):
    network(x, log_snr, cond).square().sum().backward()
    without = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not without


def test_null_condition_equals_no_condition(network, x, log_snr, cond):
    torch.testing.assert_close(network(x, log_snr, cond.null()), network(x, log_snr))


def test_masked_tokens_change_nothing(network, x, log_snr, cond):
    others = torch.where(cond.mask[..., None], cond.tokens, 100 * torch.randn_like(cond.tokens))
    expected = network(x, log_snr, cond)
    torch.testing.assert_close(network(x, log_snr, Conditioning(cond.vector, others, cond.mask)), expected)


@pytest.mark.parametrize("changed", ["vector", "tokens", "mask", "log_snr", "x"])
def test_every_input_changes_the_output(network, x, log_snr, cond, changed):
    inputs = {"vector": cond.vector, "tokens": cond.tokens, "mask": cond.mask, "log_snr": log_snr, "x": x}

    def output(inputs: dict[str, Tensor]) -> Tensor:
        return network(inputs["x"], inputs["log_snr"], Conditioning(inputs["vector"], inputs["tokens"], inputs["mask"]))

    other = ~cond.mask if changed == "mask" else inputs[changed] + 1
    difference = (output(inputs | {changed: other}) - output(inputs)).abs().amax(dim=(1, 2))
    assert (difference > 1e-4).all()


def test_finite_at_the_ends_of_time(network, x, cond):
    ends = torch.tensor([float("inf"), float("-inf"), 0.0])
    assert network(x, ends, cond).isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(network, x, log_snr, cond):
    together = network(x, log_snr, cond)
    for i in range(BATCH):
        alone = Conditioning(*(field[i : i + 1] for field in (cond.vector, cond.tokens, cond.mask)))
        torch.testing.assert_close(network(x[i : i + 1], log_snr[i : i + 1], alone), together[i : i + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_that_the_network_was_not_built_for_is_an_error(kind, x, log_snr, cond):
    network = make_network(kind, vector_dim=0, token_dim=0)
    for condition in (Conditioning(vector=cond.vector), Conditioning(tokens=cond.tokens, mask=cond.mask)):
        with pytest.raises(ValueError, match="_dim=0"):
            network(x, log_snr, condition)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_divide_the_width(kind):
    network_class, settings = KINDS[kind]
    with pytest.raises(ValueError, match="cannot be divided into heads"):
        network_class(channels=CHANNELS, **{**SMALL, "head_size": 5}, **settings)
