"""Trainings in processes of their own, forked by a server that has trained once: a start costs nothing."""

import faulthandler
import multiprocessing
import os
import socket
import sys
from functools import partial
from pathlib import Path

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.warmed", "torch.utils.tensorboard", __name__])

PATIENCE_S = 300
"""How long a process may take; where it then is, its log says."""


def start(function, *arguments, log):
    """A process that calls ``function``; what it prints goes into the file ``log``."""
    process = CONTEXT.Process(target=_called, args=(log, function, arguments))
    process.start()
    return process


def start_together(count, function, *arguments, log):
    """``function(rank, *arguments)`` in ``count`` processes that find one another as those of torchrun do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs = [Path(f"{log}.{rank}") for rank in range(count)]
    ranks = [start(partial(_ranked, rank, count, port), function, *arguments, log=logs[rank]) for rank in range(count)]
    return ranks, logs


def together(count, function, *arguments, log):
    """What `start_together` starts, once it has ended well: what each of them printed."""
    ranks, logs = start_together(count, function, *arguments, log=log)
    for process in ranks:
        process.join(PATIENCE_S)
    said = [log.read_text() for log in logs]
    codes = [process.exitcode for process in ranks]
    assert codes == [0] * count, "\n".join([f"exit codes {codes}", *said])
    return said


def _ranked(rank, count, port, function, *arguments):
    os.environ |= {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    function(rank, *arguments)


def _called(log, function, arguments):
    multiprocessing.set_start_method("fork", force=True)  # as on the command line; servers of loaders outlive a kill
    torch.set_num_threads(1)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        faulthandler.dump_traceback_later(PATIENCE_S - 10)
        try:
            function(*arguments)
        finally:
            sys.stdout.flush()
