"""Students of one teacher, each trained for the same seconds: objective x steps x score x seconds, and a picture.

Seconds are CPU seconds: equal to wall-clock time of one thread on an idle machine, and the same work on a busy one.
The teacher is a run directory. Each student has its backbone, data and codec, and starts from its weights. A student of
several stages, such as progressive distillation from 4 steps to 2 to 1, has the seconds for all of them together.
The student `lcm` has the objective and the average of diffusers' example of LCM distillation, at our learning rate.
--score is one of `multidiff evaluate`, as the mean and half the range over seeds of the samples. The picture has the
same seeds at 1, 2 and 4 steps of each student, below the teacher at 32. Students whose runs are in --out are kept.

    multidiff train experiment=image/digits run_dir=digits
    python benchmarks/few_step.py digits --data digits --seconds 300 --json few_step.json --out few_step
    python benchmarks/few_step.py chairs --data 'mesh_folder root=CHAIRS' --score 'set 1nna_chamfer' --out few_chairs
    multidiff train experiment=image/digits data=idx data.root=FASHION run_dir=fashion budget=30m
    python benchmarks/few_step.py fashion --data 'idx root=FASHION' --seconds 1800 --json fashion.json --out few_fashion
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contest import environment, write
from PIL import Image
from recipe import figures

from multidiff.configuration import compose, load_option, resolved
from multidiff.evaluation.evaluated import EvaluatedModel
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.run import EvaluationRun, EvaluationSettings
from multidiff.training import callbacks
from multidiff.training.run_directory import read_settings
from multidiff.training.train import train

REFERENCE_STEPS = 32
FREE = ("run_dir", "budget", "resume", "teacher", "init", "objective", "sampler", "guidance", "optimizer")
"""Settings of the teacher that its students do not share."""


@dataclass(frozen=True)
class Stage:
    """A training of a student.

    Attributes:
        objective: an option of the group.
        settings: of the objective.
        taught: whether it has a teacher, which for later stages is the stage before.
        ema: the moving average, where it is not that of the teacher's training.
    """

    objective: str
    settings: Mapping[str, Any]
    taught: bool = True
    ema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Student:
    """A student and the numbers of steps that it is scored at."""

    stages: Sequence[Stage]
    steps: Sequence[int]


def halved(steps: int, substeps: int, **settings: Any) -> Stage:
    """A stage of progressive distillation."""
    return Stage("progressive_distillation", {"times.steps": steps, "substeps": substeps, **settings})


def matched(steps: int, guidance: float) -> Student:
    """Distribution matching in this number of steps."""
    return Student([Stage("distribution_matching", {"times.steps": steps, "guidance": guidance})], [steps])


def students(guidance: float) -> dict[str, Student]:
    """All students, with the guidance of the teacher built in where the objective can."""
    scaled = {"guidance": guidance}
    few = (1, 2, 4)
    progress = [halved(4, 8, **scaled), halved(2, 2, guidance=1.0), halved(1, 2, guidance=1.0)]
    return {
        "consistency": Student([Stage("consistency", {}, taught=False)], few),
        "consistency, taught": Student([Stage("consistency", scaled)], few),
        "consistency_continuous, taught": Student([Stage("consistency_continuous", scaled)], few),
        "mean_flow, taught": Student([Stage("mean_flow", scaled)], few),
        "lcm": Student([Stage("lcm", scaled, ema={**load_option("ema", "constant"), "decay": 0.95})], few),
        "guided_distillation": Student([Stage("guided_distillation", {"guidance": [1.0, 4.0]})], (4, 10, 20)),
        **{f"progressive, {n} steps": Student(progress[: 3 - i], [n]) for i, n in enumerate(few)},
        **{f"distribution_matching, {n} steps": matched(n, guidance) for n in few},
    }


def trained(name: str, student: Student, teacher: Path, seconds: float, lr: float, out: Path) -> tuple[Path, float]:
    """The run directory of the last stage, and the seconds that all stages took."""
    shared = {key: value for key, value in read_settings(teacher).items() if key not in FREE}
    optimizer = {**read_settings(teacher)["optimizer"], "lr": lr}
    before, spent = teacher, 0.0
    for number, stage in enumerate(student.stages):
        run_dir = out / f"{name.replace(', ', '_').replace(' ', '_')}_{number}"
        chosen = resolved(compose([f"objective={stage.objective}", "run_dir=unused"]))
        own = {
            **shared,
            "objective": changed(chosen["objective"], stage.settings),
            "sampler": chosen["sampler"],
            "optimizer": optimizer,
            "guidance": 1.0,
            "ema": stage.ema or shared["ema"],
            "teacher": str(before) if stage.taught else None,
            "init": str(before),
            "budget": f"{seconds / len(student.stages):g}s",
            "resume": False,
            "logger": {},
            "run_dir": str(run_dir),
        }
        began = time.process_time()
        if not (run_dir / "model" / "model.safetensors").is_file():
            train(own)
        spent, before = spent + time.process_time() - began, run_dir
    return before, spent


def changed(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with values at dotted keys."""
    result = dict(config)
    for key, value in settings.items():
        head, _, rest = key.partition(".")
        result[head] = changed(result[head], {rest: value}) if rest else value
    return result


def score(model: Path, steps: int, seeds: int, arguments: argparse.Namespace, **changes: Any) -> dict[str, float]:
    """``--score`` of a model at a number of steps: mean, half range over seeds, and that of real data."""
    found, floor = [], 0.0
    for seed in range(seeds):
        settings = EvaluationSettings(
            data=arguments.data,
            model=str(model),
            features=arguments.features,
            samples=arguments.samples,
            changes={"steps": steps, **changes},
            seed=seed,
        )
        result = EvaluationRun(settings).result()
        assert result is not None
        values, floors = figures(result.evaluation)
        if arguments.score not in values:
            raise SystemExit(f"--score is one of: {', '.join(values)}")
        found, floor = [*found, values[arguments.score]], floors[arguments.score]
    return {"score": statistics.mean(found), "spread": (max(found) - min(found)) / 2, "floor": floor}


def row(model: Path, steps: int, arguments: argparse.Namespace) -> Image.Image:
    """The samples of the first seeds, one of each class or with the fields of some of the data, as a picture."""
    evaluated = EvaluatedModel(str(model), torch.device("cpu"))
    pipeline, modality, count = evaluated.pipeline, evaluated.modality, arguments.columns
    if set(pipeline.model.conditioner.reads) <= {"label"}:
        labels = [label for part in pipeline.model.conditioner for label in part.choices] or None
        return modality.preview(pipeline.sample(count, steps=steps, seed=0, label=labels and labels[:count]))
    data = evaluated.data(arguments.data)
    reference = Reference(modality, data, evaluated.holdout, evaluated.split_seed)
    source, _ = evaluated.source(reference, count, 0, {"steps": steps})
    return modality.preview(source.first(count))


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below one another."""
    whole = Image.new("RGB", (max(each.width for each in pictures), sum(each.height for each in pictures)), "white")
    top = 0
    for each in pictures:
        whole.paste(each, (0, top))
        top += each.height
    return whole


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path, help="a run directory")
    parser.add_argument("--data", default="digits", help="as multidiff evaluate --data")
    parser.add_argument(
        "--score", default="frechet_distance", help="such as kernel_distance, or 'set 1nna_chamfer' of shapes"
    )
    parser.add_argument("--features", help="as multidiff evaluate --features")
    parser.add_argument("--only", nargs="*", help="names of students; all by default")
    parser.add_argument("--seconds", type=float, default=300, help="of training, each")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--guidance", type=float, default=1.5, help="of the teacher")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3, help="of the samples")
    parser.add_argument("--columns", type=int, default=10, help="samples of a row of the picture")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, default=Path("few_step"))
    return parser.parse_args()


def main() -> None:
    """Train and score all students, and print the table."""
    arguments = parsed()
    torch.set_num_threads(1)
    callbacks.clock = time.process_time
    arguments.out.mkdir(parents=True, exist_ok=True)
    table: list[dict[str, Any]] = []
    print(f"{'objective':34} {'steps':>5} {arguments.score:>18} {'spread':>8} {'floor':>8} {'seconds':>8}")

    def report(name: str, model: Path, steps: int, seconds: float, **changes: Any) -> None:
        measured = {"objective": name, "steps": steps, "seconds": seconds}
        measured |= score(model, steps, arguments.seeds, arguments, **changes)
        table.append(measured)
        shown = f"{measured['score']:18.4g} {measured['spread']:8.2g} {measured['floor']:8.3g} {seconds:8.0f}"
        print(f"{name:34} {steps:5} {shown}", flush=True)

    for steps in (4, REFERENCE_STEPS):
        report("teacher", arguments.teacher, steps, 0.0, guidance=arguments.guidance)
    above = row(arguments.teacher, REFERENCE_STEPS, arguments)
    for name, student in students(arguments.guidance).items():
        if arguments.only and name not in arguments.only:
            continue
        model, seconds = trained(name, student, arguments.teacher, arguments.seconds, arguments.lr, arguments.out)
        for steps in student.steps:
            report(name, model, steps, seconds)
        below = [row(model, steps, arguments) for steps in student.steps]
        stacked([above, *below]).save(arguments.out / f"{name.replace(', ', '_').replace(' ', '_')}.png")
    settings = {name: str(value) for name, value in vars(arguments).items()}
    write(arguments.json, {"environment": environment("multidiff-toolkit"), "settings": settings, "table": table})


if __name__ == "__main__":
    main()
