"""Pretrained pipelines of other libraries, opened from disk, offline."""

from multidiff.pretrained.conversion import save_as_folder
from multidiff.pretrained.folder import INDEX
from multidiff.pretrained.lora import SAVED, fuse, is_lora, lora_file
from multidiff.pretrained.lora_facts import lora_facts
from multidiff.pretrained.opening import is_pipeline, open_pipeline, outline, pipeline_hash
from multidiff.pretrained.outline import Outline
from multidiff.pretrained.parts import Opened
from multidiff.pretrained.saving import diffusers_example, save_folder, save_trained
from multidiff.pretrained.single_saving import save_single
from multidiff.pretrained.stack import Stack, find_stack, stack_hash, stack_of, stacked
from multidiff.pretrained.tuning import Tuning

__all__ = [
    "INDEX",
    "SAVED",
    "Opened",
    "Outline",
    "Stack",
    "Tuning",
    "diffusers_example",
    "find_stack",
    "fuse",
    "is_lora",
    "is_pipeline",
    "lora_facts",
    "lora_file",
    "open_pipeline",
    "outline",
    "pipeline_hash",
    "save_as_folder",
    "save_folder",
    "save_single",
    "save_trained",
    "stack_hash",
    "stack_of",
    "stacked",
]
