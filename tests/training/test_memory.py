"""The memory of a step is computed without a trace in the process that then trains."""

import pytest
import torch

from multidiff.nn.resample import lowpass
from multidiff.nn.unet import UNet
from multidiff.training.memory import peak_of_step


@pytest.mark.parametrize("dims", [1, 2])
def test_a_network_of_which_it_is_computed_first_computes_with_values_afterwards(dims):
    settings = {"widths": [8, 8], "blocks": [1, 1], "attention": [False, True], "head_size": 8}
    network = UNet(dims=dims, channels=2, filtered=True, **settings)
    x, log_snr = torch.randn(2, 2, *dims * [16]), torch.zeros(2)
    lowpass.cache_clear()
    assert peak_of_step([network], [(0, (x, log_snr), {})]) > x.nbytes
    network(x, log_snr).square().mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
