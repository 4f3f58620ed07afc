"""Moving averages whose width is chosen after training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from multidiff.data.files import atomic_path
from multidiff.errors import InputError
from multidiff.training.callbacks import RunCallback, step_done
from multidiff.training.ema import EMA, PowerDecay

if TYPE_CHECKING:
    from multidiff.training.base_run import BaseRun

FOLDER = "averages"


class Snapshots(RunCallback):
    """Keeps power-function averages of several widths, and writes snapshots of them into ``RUN_DIR/averages``.

    `reconstructed` makes the average of any width, at any time since the first snapshot, from them. Karras et al.
    (2024), section 3, https://arxiv.org/abs/2312.02696.

    Args:
        widths: of the averages, relative to the length of training, see `PowerDecay`; at least two.
        every: steps between snapshots; the last step always makes one.

    Raises:
        InputError: fewer than two widths, one that is out of range, or ``every`` below 1.
    """

    def __init__(self, widths: Sequence[float] = (0.05, 0.1), every: int = 500):
        if len(set(widths)) < 2 or every < 1:
            raise InputError(
                f"callbacks.snapshots: two different widths and every >= 1 are needed, got {widths}, {every}"
            )
        try:
            self.decays = [PowerDecay(width) for width in widths]
        except ValueError as error:
            raise InputError(f"snapshots: {error}") from error
        self.every = every
        self.written = 0

    def attach(self, run: "BaseRun") -> None:
        """Start the averages at the weights of ``run``."""
        self.folder = run.run_dir / FOLDER
        self.averages = [EMA(run.module.model, decay) for decay in self.decays]

    def state_dict(self) -> dict[str, Any]:
        return {"averages": [average.state_dict() for average in self.averages]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for average, state in zip(self.averages, state_dict["averages"], strict=True):
            average.load_state_dict(state)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for average in self.averages:
            average.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not step_done(trainer, batch_idx):
            return
        for average in self.averages:
            average.update(pl_module.model)  # type: ignore[arg-type]
        if trainer.global_step % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        updates = int(self.averages[0].updates)
        if updates == self.written or not trainer.is_global_zero:
            return
        self.written = updates
        self.folder.mkdir(exist_ok=True)
        for average, decay in zip(self.averages, self.decays, strict=True):
            state = {name: value.detach().cpu().contiguous() for name, value in average.model.state_dict().items()}
            with atomic_path(self.folder / f"{updates:08d}_{decay.std:g}.safetensors") as path:
                save_file(state, path)


@dataclass(frozen=True)
class Snapshot:
    """An average on disk.

    Attributes:
        path: of its weights.
        updates: that it has taken.
        std: its width.
    """

    path: Path
    updates: int
    std: float


def snapshots(run_dir: Path) -> list[Snapshot]:
    """The snapshots of a run, the oldest first.

    Raises:
        InputError: there is none.
    """
    names = {path: re.fullmatch(r"(\d+)_(.+)", path.stem) for path in (run_dir / FOLDER).glob("*.safetensors")}
    found = [Snapshot(path, int(match[1]), float(match[2])) for path, match in names.items() if match]
    if not found:
        raise InputError(f"{run_dir} keeps no snapshots of its averages: train with callbacks=snapshots")
    return sorted(found, key=lambda snapshot: (snapshot.updates, snapshot.std))


def reconstructed(kept: Sequence[Snapshot], std: float) -> dict[str, Tensor]:
    """The weights of the power-function average of width ``std`` after the last of the updates.

    Values that are equal in all snapshots, such as frozen weights, and integers are copied from the last one.

    Raises:
        InputError: a snapshot is damaged, or the width is out of range.
    """
    try:
        target = PowerDecay(std)
    except ValueError as error:
        raise InputError(str(error)) from error
    exponents = [PowerDecay(each.std).gamma for each in kept]
    updates = [each.updates for each in kept]
    factors = combination(updates, exponents, updates[-1], target.gamma)
    last = _read(kept[-1].path)
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in last.items()}
    constant = dict.fromkeys(last, True)
    for snapshot, factor in zip(kept, factors.tolist(), strict=True):
        state = _read(snapshot.path)
        if state.keys() != last.keys():
            raise InputError(f"{snapshot.path} is of another model than {kept[-1].path}: remove it")
        for name, value in state.items():
            total[name] += factor * value
            constant[name] &= torch.equal(value, last[name])
    return {
        name: value if constant[name] or not value.is_floating_point() else total[name].to(value)
        for name, value in last.items()
    }


def combination(updates: Sequence[int], exponents: Sequence[float], last: int, exponent: float) -> np.ndarray:
    """The factors with which profiles ``t^exponents[i]`` on ``[0, updates[i]]`` come closest to another, in squares.

    Karras et al. (2024), algorithm 3: the normal equations, with the inner products of the profiles in closed form.
    Here the factors sum to 1, so that weights that do not change are kept.

    Args:
        updates: where each profile ends.
        exponents: of each.
        last: where the wanted profile ends.
        exponent: of it.
    """
    ends, powers = np.asarray(updates, dtype=np.float64), np.asarray(exponents, dtype=np.float64)
    gram = inner(ends[:, None], powers[:, None], ends[None], powers[None])
    wanted = inner(ends, powers, np.asarray(last, np.float64), np.asarray(exponent, np.float64))
    ones = np.ones((len(ends), 1))
    bordered = np.block([[gram, ones], [ones.T, np.zeros((1, 1))]])
    return np.linalg.lstsq(bordered, np.append(wanted, 1.0), rcond=None)[0][:-1]


def inner(a: np.ndarray, power_a: np.ndarray, b: np.ndarray, power_b: np.ndarray) -> np.ndarray:
    """The inner product of the profiles ``(p + 1) / end (t / end)^p`` on ``[0, end]``; arguments broadcast."""
    below = np.minimum(a, b)
    shrink = (below / a) ** power_a * (below / b) ** power_b
    return (power_a + 1) * (power_b + 1) / (power_a + power_b + 1) * shrink * below / (a * b)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}): remove it") from error
