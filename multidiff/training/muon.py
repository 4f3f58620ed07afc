"""Muon: steps of equal size in every direction of a matrix."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from multidiff.errors import InputError

SMALLEST = 33
"""Rows and columns from which on a parameter counts as a matrix: tables of classes and heads of few channels do not."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial whose iteration brings singular values near 1."""

ITERATIONS = 5
ADAM_SIZE = 0.2
"""Root mean square of an AdamW step in units of its rate, which a step here has too, so that one rate suits both."""


class Muon(Optimizer):
    """Muon for the matrices of a network, including convolution filters, and AdamW for all other parameters.

    The momentum of a matrix is replaced by the nearest orthogonal one. Jordan et al. (2024),
    https://kellerjordan.github.io/posts/muon/, with the step sizes of Liu et al. (2025), section 2.2,
    https://arxiv.org/abs/2502.16982. Unlike `torch.optim.Muon`, it supports filters and computes in single precision,
    as CPUs without bfloat16 need.

    Args:
        params: the parameters.
        lr: learning rate of both.
        momentum: of the matrices.
        betas: of AdamW.
        weight_decay: decoupled, of both.

    Raises:
        InputError: no parameter is a matrix of at least `SMALLEST` rows and columns.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 3e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
    ):
        params = list(params)
        matrices = [parameter for parameter in params if is_matrix(parameter)]
        others = [parameter for parameter in params if not is_matrix(parameter)]
        if not matrices:
            raise InputError(
                f"optimizer=muon needs matrices of at least {SMALLEST} rows and columns: use optimizer=adamw"
            )
        self.adamw = AdamW([{"params": others}], lr, betas, weight_decay=weight_decay)
        groups = [{"params": matrices}, *self.adamw.param_groups]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step; returns the result of ``closure``, which computes the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = self.param_groups[0]
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                change = self._direction(parameter, matrices["momentum"])
                parameter.mul_(1 - matrices["lr"] * matrices["weight_decay"])
                parameter.add_(change.view_as(parameter), alpha=-matrices["lr"])
        self.adamw.step()
        return loss

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """The orthogonal matrix nearest to the momentum, at the size of a step of AdamW."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        average = state["momentum"].lerp_(gradient, 1 - momentum)
        direction = orthogonal(gradient.lerp(average, momentum).flatten(1))
        return ADAM_SIZE * max(direction.shape) ** 0.5 * direction

    def _share(self) -> None:
        self.adamw.state, self.adamw.param_groups = self.state, self.param_groups[1:]


def is_matrix(parameter: Tensor) -> bool:
    """Whether a weight, with all axes but its first as one, is a matrix large enough for Muon."""
    return parameter.ndim > 1 and min(parameter.flatten(1).shape) >= SMALLEST


def orthogonal(matrix: Tensor) -> Tensor:
    """``(rows, columns)`` with the same singular vectors and all singular values between about 0.7 and 1.2.

    A Newton-Schulz iteration, which needs matrix products only.
    """
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.addmm(x, torch.addmm(square, square, square, beta=third, alpha=fifth), x, beta=first)
    return x.mT if matrix.shape[0] > matrix.shape[1] else x
