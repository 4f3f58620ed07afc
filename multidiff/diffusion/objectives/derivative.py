"""Derivatives of a denoiser along the probability flow ODE, by forward-mode differentiation."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_pre_hook

from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.diffusion.schedules import Schedule

Coordinate = Callable[[Tensor, Tensor], Tensor]
"""A time of one's own, from alpha and sigma."""


def along(
    function: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    x_t: Tensor,
    t: Tensor,
    ends: tuple[Tensor, Tensor],
    coordinate: Coordinate,
) -> tuple[Tensor, Tensor]:
    """``function(x_t, t)`` and its derivative along ``alpha x0 + sigma noise``, per unit of ``coordinate``.

    Attention uses the math kernel, because the others have no forward-mode derivative.

    Args:
        function: of ``x_t``, ``(B, C, *size)``, and t, ``(B,)``.
        schedule: alpha and sigma.
        x_t: where to differentiate.
        t: likewise, inside (0, 1).
        ends: x0 and noise.
        coordinate: a function of alpha and sigma, increasing in t.
    """
    ones = torch.ones_like(t)
    rates = [jvp(f, (t,), (ones,))[1] for f in (schedule.alpha, schedule.sigma)]
    per_unit = 1 / jvp(lambda t: coordinate(schedule.alpha(t), schedule.sigma(t)), (t,), (ones,))[1]
    change = sum(
        (rate * per_unit).to(x_t).reshape(-1, *[1] * (x_t.ndim - 1)) * end
        for rate, end in zip(rates, ends, strict=True)
    )
    with sdpa_kernel(SDPBackend.MATH):
        value, derivative = jvp(function, (x_t, t), (change, per_unit))[:2]
    return value, derivative


def check_derivative(denoiser: NetworkDenoiser, shape: tuple[int, ...]) -> None:
    """Refuse a network without a forward-mode derivative.

    Args:
        denoiser: evaluated once, without a condition.
        shape: of x0, ``(C, *size)``.

    Raises:
        ValueError: a module has none; the message names it.
    """
    like = next(denoiser.parameters())
    x, t = torch.zeros(1, *shape, dtype=like.dtype, device=like.device), torch.full((1,), 0.5, device=like.device)
    entered = []
    hook = register_module_forward_pre_hook(lambda module, inputs: entered.append(module))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, which loads its derivatives by torch.jit once
            along(denoiser, denoiser.schedule, x, t, (x, torch.ones_like(x)), lambda alpha, sigma: sigma - alpha)
    except (RuntimeError, NotImplementedError) as error:
        names = {module: name for name, module in denoiser.network.named_modules()}
        name = next((names[module] for module in reversed(entered) if names.get(module)), "the network")
        kind = type(entered[-1]).__name__
        reason = str(error).split(". ")[0].splitlines()[0]
        raise ValueError(
            f"this objective needs a forward-mode derivative, and {name} ({kind}) has none: {reason}"
        ) from error
    finally:
        hook.remove()
