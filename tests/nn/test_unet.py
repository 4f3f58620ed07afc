import pytest
import torch
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.unet import UNet

BATCH, CHANNELS, VECTOR, TOKEN = 3, 3, 5, 6


def make_network(*, vector_dim: int = VECTOR, token_dim: int = TOKEN) -> UNet:
    """A small network with random weights in its zero-initialised layers, so that every path contributes."""
    torch.manual_seed(0)
    settings = {"widths": [8, 16], "blocks": [1, 2], "attention": [False, True], "head_size": 8}
    network = UNet(dims=2, channels=CHANNELS, vector_dim=vector_dim, token_dim=token_dim, **settings)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture
def network() -> UNet:
    return make_network()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, CHANNELS, 8, 8)


@pytest.fixture
def log_snr() -> Tensor:
    return torch.linspace(-2, 3, BATCH)


@pytest.fixture
def cond() -> Conditioning:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    return Conditioning(torch.randn(BATCH, VECTOR), torch.randn(BATCH, 3, TOKEN), mask)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1), (5, 16)])
def test_any_size_goes_in_and_comes_out(network, log_snr, cond, size):
    x = torch.randn(BATCH, CHANNELS, *size)
    assert network(x, log_snr, cond).shape == x.shape


def test_output_is_zero_at_first(x, log_snr):
    network = UNet(dims=2, channels=CHANNELS, widths=[8, 16], blocks=[1, 1], attention=[False, True], head_size=8)
    assert not network(x, log_snr).any()


def test_every_parameter_has_a_gradient(network, x, log_snr, cond):
    network(x, log_snr, cond).square().sum().backward()
    still = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not still


def test_null_condition_equals_no_condition(network, x, log_snr, cond):
    torch.testing.assert_close(network(x, log_snr, cond.null()), network(x, log_snr))


def test_masked_tokens_change_nothing(network, x, log_snr, cond):
    others = torch.where(cond.mask[..., None], cond.tokens, 100 * torch.randn_like(cond.tokens))
    expected = network(x, log_snr, cond)
    torch.testing.assert_close(network(x, log_snr, Conditioning(cond.vector, others, cond.mask)), expected)


@pytest.mark.parametrize("changed", ["vector", "tokens", "mask", "log_snr", "x"])
def test_output_depends_on_every_input(network, x, log_snr, cond, changed):
    inputs = {"vector": cond.vector, "tokens": cond.tokens, "mask": cond.mask, "log_snr": log_snr, "x": x}

    def output(inputs: dict[str, Tensor]) -> Tensor:
        return network(inputs["x"], inputs["log_snr"], Conditioning(inputs["vector"], inputs["tokens"], inputs["mask"]))

    other = ~cond.mask if changed == "mask" else inputs[changed] + 1
    difference = (output(inputs | {changed: other}) - output(inputs)).abs().amax(dim=(1, 2, 3))
    assert (difference > 1e-3).all()


def test_finite_at_the_ends_of_time(network, x, cond):
    ends = torch.tensor([float("inf"), float("-inf"), 0.0])
    assert network(x, ends, cond).isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(network, x, log_snr, cond):
    together = network(x, log_snr, cond)
    for i in range(BATCH):
        alone = Conditioning(*(field[i : i + 1] for field in (cond.vector, cond.tokens, cond.mask)))
        torch.testing.assert_close(network(x[i : i + 1], log_snr[i : i + 1], alone), together[i : i + 1])


@pytest.mark.parametrize(("vector_dim", "token_dim"), [(0, 0), (0, TOKEN), (VECTOR, 0)])
def test_a_condition_without_a_width_in_the_network_is_an_error(x, log_snr, cond, vector_dim, token_dim):
    network = make_network(vector_dim=vector_dim, token_dim=token_dim)
    for kind, dim in (
        (Conditioning(vector=cond.vector), vector_dim),
        (Conditioning(tokens=cond.tokens, mask=cond.mask), token_dim),
    ):
        if dim:
            network(x, log_snr, kind)
        else:
            with pytest.raises(ValueError, match="_dim=0"):
                network(x, log_snr, kind)


@pytest.mark.parametrize("blocks", [[1], [1, 0], [1, 1, 1]])
def test_stages_must_agree(blocks):
    with pytest.raises(ValueError, match="blocks"):
        UNet(dims=2, channels=3, widths=[8, 16], blocks=blocks, attention=[False, True], head_size=8)
