"""From a config to a trained model."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig

from multidiff.data.files import full_disk_told
from multidiff.errors import InputError
from multidiff.training.announce import announced
from multidiff.training.base_run import BaseRun
from multidiff.training.codec_run import build_codec
from multidiff.training.run import build
from multidiff.training.run_directory import held, open_run
from multidiff.training.stop import NoBatch, Request
from multidiff.training.trainer import is_first_process
from multidiff.training.tuning_run import build_tuning

KNOWN_WARNINGS = (
    ".*smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*will create 2 worker processes in total.*",  # the default, on one core
    ".*module.s. in eval mode.*",  # the moving average is
    ".*your dataloader is not resumable.*",  # it starts at the trainer's step by itself
    ".*Experiment logs directory .* is not empty.*",  # the old metrics were moved aside
    ".*LeafSpec.*is deprecated.*",  # within Lightning
)
"""Warnings of Lightning that do not apply here."""


KILLED = (
    "a loader process was killed, probably for lack of memory: lower loader.workers or loader.batch_size; resume=true "
    "continues from the newest checkpoint"
)


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        run_dir: its directory, which `multidiff.load` accepts.
        steps: number of optimiser steps, including those before a resume.
        samples: number of training samples.
        finished: false if training was stopped before its last step.
    """

    run_dir: Path
    steps: int
    samples: int
    finished: bool


def train(config: DictConfig | dict[str, Any]) -> Result:
    """Train with ``config``, from the start or from the newest checkpoint.

    Raises:
        InputError: something in the config or in the data cannot be used. Nothing is written then.
    """
    return fit(built(config))


def built(config: DictConfig | dict[str, Any]) -> BaseRun:
    """The training in ``config``: of a diffusion model, of a codec, or of a pretrained pipeline. Nothing is written.

    Raises:
        InputError: something in the config or in the data cannot be used.
    """
    if config.get("autoencoder"):
        return build_codec(config)
    return build_tuning(config) if config.get("tuning") else build(config)


def fit(run: BaseRun, *, quiet: bool = False) -> Result:
    """Train a run that `build` made.

    Args:
        run: to train.
        quiet: whether to start without telling what the data and the model are.

    Raises:
        InputError: another process trains in the same directory, or training cannot continue.
        DiskFullError: there is no space left for a preview or a log; the checkpoints are kept.
    """
    with held(run.run_dir) if is_first_process() else nullcontext():
        if is_first_process():
            open_run(run.run_dir, run.settings, run.checkpoint)
            if run.checkpoint is None and not quiet:
                print(*announced(run), sep="\n", flush=True)
        with warnings.catch_warnings(), _environment_kept():
            for message in KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            with full_disk_told(run.run_dir), _loaders_told(), suppress(NoBatch):
                run.trainer.fit(run.module, run.datamodule, ckpt_path=run.checkpoint, weights_only=True)
    step = run.trainer.global_step
    finished = step >= run.trainer.max_steps or run.stop.request == Request.NONE
    return Result(run.run_dir, step, run.module.samples_seen, finished)


@contextmanager
def _loaders_told() -> Iterator[None]:
    """Turn errors of loader processes, around which torch puts their traceback, into one line each.

    Raises:
        InputError: a loader process refused something, or was killed.
        MemoryError: a loader process ran out of memory.
    """
    try:
        yield
    except MemoryError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MemoryError("in a loader process; lower loader.workers or loader.batch_size") from error
    except (InputError, OSError) as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(re.split(r"^[\w.]+Error: ", str(error), flags=re.MULTILINE)[-1].strip()) from error
    except RuntimeError as error:
        if "DataLoader worker" in str(error) and re.search("killed by signal|exited unexpectedly", str(error)):
            raise InputError(KILLED) from error
        if isinstance(error.__context__, OSError):  # Lightning's clean-up fails where loaders cannot be started
            raise error.__context__ from None
        raise


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Restore the environment afterwards: launchers set variables that a further training here would read."""
    before, alone = dict(os.environ), not dist.is_initialized()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if alone and dist.is_initialized():
            dist.destroy_process_group()
