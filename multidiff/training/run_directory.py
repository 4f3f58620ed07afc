"""The directory of a run: one process trains in it at a time, and resumes from its newest intact checkpoint."""

import fcntl
import logging
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from multidiff.configuration import read_yaml
from multidiff.data.files import atomic_path, heal, open_unlinked
from multidiff.errors import InputError
from multidiff.model import MODEL_GROUPS
from multidiff.training.checkpoints import newest_checkpoint, set_aside_damaged
from multidiff.training.origin import DECODING
from multidiff.weights import LOWEST

log = logging.getLogger(__name__)

CONFIG, LOCK = "config.yaml", "run.lock"

CODEC_GROUPS = ("autoencoder", "reconstruction", "decoder_of")

FIXED = (*MODEL_GROUPS, *CODEC_GROUPS, "init", "seed", "loader.holdout", "optimizer._target_")
"""Settings and groups under which the weights of a run, or its held-out data, would differ."""

FREE = re.compile(
    rf"(backbone|tuning)\.gradient_checkpointing|tuning\.path|codec\.({'|'.join(DECODING)})|conditioning\.[^.]+\.known"
)
"""Names of the settings within them that may differ."""

SHOWN = 3
"""Settings that a refusal to resume names."""


def run_directory(name: Any) -> Path:
    """The run directory called ``name``: a new or empty folder, or one of a run.

    Raises:
        InputError: the name is empty, or the folder holds something else, which training would overwrite.
    """
    if name in (None, ""):
        raise InputError("run_dir is empty: give run_dir=DIR")
    run_dir = Path(str(name)).expanduser()
    if run_dir.is_dir() and not (run_dir / LOCK).is_file() and any(run_dir.iterdir()):
        raise InputError(f"{run_dir} holds files that no training wrote: choose another run_dir")
    return run_dir


def start_of(run_dir: Path, resume: bool | str) -> Path | None:
    """The checkpoint to resume from; None to start.

    Args:
        run_dir: of the run.
        resume: true to resume, false to start, ``auto`` to resume if there is a checkpoint.

    Raises:
        InputError: there is no such checkpoint, or there is one and ``resume`` is false.
    """
    if not (isinstance(resume, bool) or resume == "auto"):
        raise InputError(f"resume must be true, false or auto, got {resume!r}")
    newest = newest_checkpoint(run_dir / "checkpoints")
    if newest and resume is False:
        raise InputError(f"{run_dir} already holds a run; continue it with resume=true, or choose another run_dir")
    if resume is True and not newest:
        raise InputError(
            f"there is nothing to resume: {run_dir / 'checkpoints'} holds no checkpoint; give the run_dir of a run, or "
            "leave resume out"
        )
    return newest


def check_same_run(run_dir: Path, settings: dict[str, Any], fixed: Sequence[str] = FIXED) -> None:
    """Refuse to resume a run with a config under which its weights, or its held-out data, would differ.

    Gradient checkpointing may change, since it saves memory and changes nothing else, and so may what changes decoding
    alone, the known words of captions, and the place of a pretrained pipeline, whose hash tells it.

    Args:
        run_dir: of the run.
        settings: of the resume.
        fixed: names of settings and groups that must not differ.

    Raises:
        InputError: the configs differ in such a setting, which the message names.
    """
    before = read_settings(run_dir)
    old, new = ({k: v for key in fixed for k, v in _leaves(_select(s, key), key).items()} for s in (before, settings))
    changed = [name for name in {**old, **new} if not FREE.fullmatch(name) and old.get(name) != new.get(name)]
    if changed:
        shown = [f"{name}={_short(old.get(name))}, now {_short(new.get(name))}" for name in changed[:SHOWN]]
        hidden = [f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
        raise InputError(
            f"{run_dir} was trained with {'; '.join(shown + hidden)}: resume with the same, or choose another run_dir"
        )


def check_same_shape(
    run_dir: Path, before: Mapping[str, Any], settings: Mapping[str, Any], sizes: Iterable[str]
) -> None:
    """Refuse to resume a run on samples of another shape.

    Args:
        run_dir: of the run.
        before: its settings.
        settings: of the resume; neither tells the shape if it follows from the files, nor do those of older versions.
        sizes: the settings of the data that the shape follows from, which the message names.

    Raises:
        InputError: the shapes differ.
    """
    shapes = before.get("data_shape"), settings["data_shape"]
    if None in shapes or shapes[0] == shapes[1]:
        return
    was, now = (_shown_shape(each, sizes) for each in (before, settings))
    raise InputError(
        f"{run_dir} was trained on samples of {was}, and these are of {now}: resume with the same, or choose another "
        "run_dir"
    )


def _shown_shape(settings: Mapping[str, Any], sizes: Iterable[str]) -> str:
    shape = "x".join(map(str, settings["data_shape"]))
    known = [f"data.{name}={settings['data'][name]}" for name in sizes if name in settings["data"]]
    return f"{shape} ({', '.join(known)})" if known else shape


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _leaves(value: Any, name: str) -> dict[str, Any]:
    """The values within ``value`` by their dotted names."""
    if isinstance(value, dict):
        return {leaf: v for key in value for leaf, v in _leaves(value[key], f"{name}.{key!s}").items()}
    return {name: value}


def _select(settings: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def read_settings(run_dir: Path) -> dict[str, Any]:
    """The settings of a run, plain values without interpolations.

    Raises:
        InputError: the config of the run is missing or damaged.
    """
    path = run_dir / CONFIG
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise InputError(f"{path} is not the config of a run")
    return settings


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Lock ``run_dir`` until the block, or this process, ends.

    The lock is a POSIX lock, which loader processes do not inherit: one that outlives a killed training holds nothing.

    Raises:
        InputError: another process trains there, or nothing can be written there.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = open_unlinked(run_dir / LOCK)
    except OSError as error:
        reason = f"cannot write into the run directory {run_dir}: {error.strerror}"
        raise InputError(f"{reason}; choose another run_dir") from error
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            lock.seek(0)
            raise InputError(
                f"{lock.read() or 'another process'} is training in {run_dir}; wait for it, or choose another run_dir"
            ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}")
        lock.flush()
        yield


def is_held(run_dir: Path) -> bool:
    """Whether another process trains in ``run_dir``."""
    try:
        lock = (run_dir / LOCK).open("rb")
    except OSError:
        return False
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        return False


def process_of(run_dir: Path) -> int | None:
    """The process that trains in ``run_dir`` now; None if none does.

    Raises:
        InputError: it is a process of another machine.
    """
    if not is_held(run_dir):
        return None
    holder = ""
    with suppress(OSError):
        holder = (run_dir / LOCK).read_text("utf-8")
    found = re.fullmatch(r"process (\d+) on (.*)", holder)
    if not found or found[2] != platform.node():
        raise InputError(f"{run_dir.name} is trained by {holder or 'a process that is not known'}: stop it there")
    return int(found[1])


def open_run(run_dir: Path, settings: dict[str, Any], checkpoint: Path | None) -> None:
    """Clean up after a killed process and write the config; for the one process that holds the lock."""
    heal(run_dir, "model", "best", LOWEST, "config.yaml", "data.png")
    heal(run_dir / "checkpoints", "*.ckpt")
    heal(run_dir / "previews", "*.png")
    for requeued in run_dir.glob("hpc_ckpt_*.ckpt"):
        requeued.unlink()  # Lightning would prefer it to a newer checkpoint
    for damaged in set_aside_damaged(run_dir / "checkpoints", checkpoint):
        log.warning(
            "%s is damaged and was renamed to *.damaged; resuming from %s", damaged, checkpoint and checkpoint.name
        )
    if checkpoint:
        _keep_metrics(run_dir / "logs" / "csv" / "metrics.csv", checkpoint.stem)
    with atomic_path(run_dir / CONFIG) as path:
        path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), "utf-8")


def _keep_metrics(metrics: Path, before: str) -> None:
    """Rename the metrics from before a resume, since the logger starts a new file."""
    names = (metrics.with_name(f"metrics_before_{before}{f'_{n}' if n else ''}.csv") for n in count())
    if metrics.exists():
        metrics.rename(next(name for name in names if not name.exists()))
