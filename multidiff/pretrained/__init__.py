"""Pretrained pipelines of other libraries, opened from disk, offline."""

from multidiff.pretrained.folder import INDEX
from multidiff.pretrained.lora import fuse
from multidiff.pretrained.opening import is_pipeline, open_pipeline, pipeline_hash
from multidiff.pretrained.parts import Opened
from multidiff.pretrained.saving import diffusers_example, save_folder, save_trained
from multidiff.pretrained.stack import Stack, find_stack, stack_hash, stack_of, stacked
from multidiff.pretrained.tuning import Tuning

__all__ = [
    "INDEX",
    "Opened",
    "Stack",
    "Tuning",
    "diffusers_example",
    "find_stack",
    "fuse",
    "is_pipeline",
    "open_pipeline",
    "pipeline_hash",
    "save_folder",
    "save_trained",
    "stack_hash",
    "stack_of",
    "stacked",
]
