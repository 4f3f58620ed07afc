"""The directory of a run: trained in by one process at a time, and gone on with from its newest whole checkpoint."""

import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from multidiff.configuration import resolved
from multidiff.data.files import atomic_path, heal
from multidiff.errors import InputError
from multidiff.model import MODEL_GROUPS
from multidiff.training.checkpoints import newest_checkpoint, set_aside_damaged

log = logging.getLogger(__name__)


def start_of(run_dir: Path, resume: bool | str) -> Path | None:
    """The checkpoint to go on from; None to start anew.

    Args:
        run_dir: of the run.
        resume: true to go on, false to start, ``auto`` to go on if there is something to go on with.

    Raises:
        InputError: there is no such checkpoint, or there is one and ``resume`` is false.
    """
    if resume not in (True, False, "auto"):
        raise InputError(f"resume must be true, false or auto, got {resume!r}")
    newest = newest_checkpoint(run_dir / "checkpoints")
    if newest and resume is False:
        raise InputError(f"{run_dir} already holds a run; go on with it by resume=true, or choose another run_dir")
    if resume is True and not newest:
        raise InputError(f"there is nothing to resume: {run_dir / 'checkpoints'} holds no checkpoint; leave resume out")
    return newest


def check_same_run(run_dir: Path, settings: dict[str, Any]) -> None:
    """Refuse to resume a run with a config under which its weights, or what it held out, would be others.

    Gradient checkpointing may change: it spares memory and nothing else.

    Raises:
        InputError: the configs differ in such a setting, which the message names.
    """
    before = resolved(OmegaConf.load(run_dir / "config.yaml"))
    for key in (*MODEL_GROUPS, "seed", "loader.holdout"):
        old, new = (_select(config, key) for config in (before, settings))
        if old != new:
            raise InputError(f"{run_dir} was trained with another {key} ({old}, now {new}); choose another run_dir")


def _select(config: dict[str, Any], key: str) -> Any:
    value = OmegaConf.select(OmegaConf.create(config), key)
    if key != "backbone":
        return value
    return {name: setting for name, setting in value.items() if name != "gradient_checkpointing"}


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Keep others from training in ``run_dir`` until the block ends, or this process does, in whatever way.

    The lock is POSIX's, which loader processes do not inherit: one that outlives a killed training holds nothing.

    Raises:
        InputError: another process trains there, or nothing can be written there.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / "run.lock").open("a+")
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


def open_run(run_dir: Path, settings: dict[str, Any], checkpoint: Path | None) -> None:
    """Put in order what a killed process has left, and write the config; for the one process that holds the lock."""
    heal(run_dir, "model", "best", "config.yaml")
    heal(run_dir / "checkpoints", "*.ckpt")
    heal(run_dir / "previews", "*.png")
    for requeued in run_dir.glob("hpc_ckpt_*.ckpt"):
        requeued.unlink()  # Lightning would prefer it to a newer checkpoint
    for damaged in set_aside_damaged(run_dir / "checkpoints", checkpoint):
        log.warning("%s is damaged: set aside; going on from %s", damaged, checkpoint and checkpoint.name)
    if checkpoint:
        _keep_metrics(run_dir / "logs" / "csv" / "metrics.csv", checkpoint.stem)
    with atomic_path(run_dir / "config.yaml") as path:
        OmegaConf.save(OmegaConf.create(settings), path)


def _keep_metrics(metrics: Path, before: str) -> None:
    """Give the metrics of before a resume a name of their own: the logger starts a new file."""
    names = (metrics.with_name(f"metrics_before_{before}{f'_{n}' if n else ''}.csv") for n in count())
    if metrics.exists():
        metrics.rename(next(name for name in names if not name.exists()))
