"""Where the processes of a training wait for one another in Python, so that signals reach them meanwhile."""

import time

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from multidiff.errors import InputError

PAUSE = 1e-4
"""Seconds between two looks at whether all are there."""

_STOPPED = "multidiff/stopped"


def wait_for_all(device: torch.device) -> None:
    """Wait until every process is here; torch's own barrier would block signals until then.

    Raises:
        InputError: one of them has ended.
    """
    try:
        everyone = dist.all_reduce(torch.zeros(1, device=device), async_op=True)
        while not everyone.is_completed():
            time.sleep(PAUSE)
        everyone.wait()
    except RuntimeError as error:
        raise InputError("another process of this training has ended; its own message says why") from error


def tell_all() -> None:
    """Make `told` return True in every process."""
    try:
        _get_default_store().set(_STOPPED, "")
    except RuntimeError:  # the process that kept the store has ended
        return


def told() -> bool:
    """Whether a process has called `tell_all`, or the one that keeps what is told has ended."""
    try:
        return bool(_get_default_store().check([_STOPPED]))
    except RuntimeError:
        return True
