"""Training runs of seconds."""

from multidiff.configuration import compose
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
