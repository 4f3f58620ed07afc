"""Training runs of seconds."""

import torch

from multidiff.configuration import compose
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.train import train

TINY = (
    "experiment=image/digits",
    "backbone.widths=[8,8]",
    "backbone.blocks=[1,1]",
    "backbone.attention=[false,true]",
    "backbone.head_size=8",
    "conditioning.label.dim=8",
    "loader.batch_size=8",
    "trainer.val_check_interval=1000",
    "callbacks.previews.every=0",
    "trainer.accelerator=cpu",
)
"""A model of a few thousand weights on the digits."""


def tiny_train(run_dir, *overrides):
    """Train a tiny model into ``run_dir``."""
    config = compose([*TINY, *overrides])
    config.run_dir = str(run_dir)
    return train(config)


def weights(run_dir):
    """Everything that training changes: weights, their average, and the optimiser's moments."""
    checkpoint = torch.load(newest_checkpoint(run_dir / "checkpoints"), weights_only=True)
    moments = checkpoint["optimizer_states"][0]["state"]
    return {**checkpoint["state_dict"], **{f"{i}.{k}": v for i, m in moments.items() for k, v in m.items()}}
