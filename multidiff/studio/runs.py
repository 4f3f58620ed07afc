"""What a training run has written so far: losses, speed, scores and previews."""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multidiff.errors import InputError
from multidiff.training.run_directory import read_settings

NOISE_LEVEL = "val/log_snr_"
"""Start of the names of losses at one range of noise levels."""

LOSSES = {"train/loss": "training", "val/loss": "held out"}

SCORE = "evaluation/"
"""Start of the names of scores, which are logged at the number of steps taken, and not at that of the last one."""

SPEED = "train/samples_per_second"

STEPS, LEFT = "train/steps", "train/seconds_left"
"""Of a training with a budget: how many steps it will take, and its seconds left."""

_BEFORE = re.compile(r"metrics_before_step_(\d+)(?:_(\d+))?\.csv")
"""Name of the metrics from before a resume: its step, and a number of those from the same step."""

Row = tuple[int, Mapping[str, float]]


@dataclass(frozen=True)
class Run:
    """A run directory while it is written.

    Attributes:
        folder: of the run.
        rows: of its metrics: the step and the values logged there, by name.
        planned: steps of the training; None under a budget.
        batch: samples of a step.
        score: name of the one that chooses the best model; None without evaluations.
    """

    folder: Path
    rows: tuple[Row, ...]
    planned: int | None
    batch: int
    score: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """What is there now.

        Raises:
            InputError: there is no run in the folder.
        """
        settings = read_settings(folder)
        try:
            planned = int(settings["trainer"]["max_steps"]) if settings.get("budget") is None else None
            batch = int(settings["loader"]["batch_size"]) * int(settings["trainer"].get("accumulate_grad_batches") or 1)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder}: the config of the run lacks trainer.max_steps or loader.batch_size") from error
        evaluation = (settings.get("callbacks") or {}).get("evaluation") or {}
        return cls(folder, tuple(_joined(folder / "logs" / "csv")), planned, batch, evaluation.get("score"))

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return max((step for step, _ in self.rows), default=-1) + 1

    @property
    def newest(self) -> dict[str, float]:
        """The newest value of everything that is logged, by name."""
        return {name: value for _, values in self.rows for name, value in values.items()}

    @property
    def steps(self) -> int | None:
        """That the training is to take, under a budget as it expects; None where that is not known."""
        expected = self.newest.get(STEPS)
        return round(expected) if self.planned is None and expected else self.planned

    @property
    def is_done(self) -> bool:
        """Whether the planned steps are taken, or the time is over."""
        return self.left == 0 if self.planned is None else self.step >= self.planned

    @property
    def left(self) -> float | None:
        """Seconds left, of a budget or at the present speed; None where none is known."""
        if self.planned is None:
            return self.newest.get(LEFT)
        speed, steps = self.newest.get(SPEED), self.steps
        return max(0, steps - self.step) * self.batch / speed if speed and steps is not None else None

    @property
    def previews(self) -> list[Path]:
        """Pictures of samples, in the order of the steps."""
        return sorted((self.folder / "previews").glob("step_*.png"))

    def curve(self, *, by_noise: bool) -> list[tuple[float, str, float]]:
        """Step, name and value of the losses: in all, or those of each range of noise levels."""

        def title(name: str) -> str | None:
            if not by_noise:
                return LOSSES.get(name)
            if not name.startswith(NOISE_LEVEL):
                return None
            return name.removeprefix(NOISE_LEVEL).replace("_", " ")

        return [
            (step, text, value) for step, values in self.rows for name, value in values.items() if (text := title(name))
        ]

    @property
    def scores(self) -> list[tuple[float, str, float]]:
        """Step, name and value of the score that chooses the best model."""
        name = f"{SCORE}{self.score}"
        return [(step, str(self.score), values[name]) for step, values in self.rows if name in values]


def _joined(folder: Path) -> list[Row]:
    """The metrics of a run in the order of its steps; those that a resume repeated come from the later process."""
    names = (_BEFORE.fullmatch(path.name) for path in folder.glob("metrics_before_*.csv"))
    resumed = sorted((int(name[1]), int(name[2] or 0), name[0]) for name in names if name)
    rows: list[Row] = []
    for end, _, file in [*resumed, (math.inf, 0, "metrics.csv")]:
        later = [row for row in _rows(folder / file) if row[0] < end]
        start = min((step for step, _ in later), default=math.inf)
        rows = [row for row in rows if row[0] < start] + later
    return rows


def _rows(path: Path) -> list[Row]:
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [row for line in csv.DictReader(lines) if (row := _row(line))]


def _row(line: Mapping[str, str]) -> Row | None:
    """The step and the finite values of a line; None of one that is being written."""
    try:
        numbers = {name: float(text) for name, text in line.items() if name and text}
        step = int(numbers.pop("step"))
    except (KeyError, ValueError, TypeError):
        return None
    numbers.pop("epoch", None)
    if any(name.startswith(SCORE) for name in numbers):
        step -= 1
    return step, {name: value for name, value in numbers.items() if math.isfinite(value)}
