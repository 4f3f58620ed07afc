"""Network evaluations in bfloat16: where it pays, and a denoiser that does so."""

import torch
from torch import Tensor

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser, Wrapper

INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "sve", "bf16")
"""Instruction sets that decide how fast a processor multiplies matrices, as torch calls them."""

BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""Those with which bfloat16 is taken to be faster: measured with the first, which has no tiles for it."""


def bfloat16_pays(device: str) -> bool:
    """Whether bfloat16 is expected to be faster than float32 on ``device``, ``cuda`` or ``cpu``.

    A CPU needs bfloat16 instructions: emulation is about twenty times slower. The instruction set decides, not a
    measurement, so that a run on one machine always has the same precision.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and not BFLOAT16.isdisjoint(instruction_sets())


def instruction_sets() -> list[str]:
    """Those of `INSTRUCTIONS` that the CPU supports; with an older torch, the capability that torch selected."""
    if not hasattr(torch.cpu, "get_capabilities"):  # torch below 2.11
        return [torch.backends.cpu.get_cpu_capability().lower()]
    known = torch.cpu.get_capabilities()
    return [name for name in INSTRUCTIONS if known.get(name)]


class InBfloat16(Wrapper):
    """A denoiser whose network runs under bfloat16 autocast; its estimates keep the dtype of the noisy samples."""

    def __init__(self, denoiser: Denoiser):
        super().__init__(denoiser)
        self.inputs = denoiser.inputs

    def forward(
        self, x_t: Tensor, t: Tensor, cond: Conditioning | None = None, *more: Tensor, **named: Tensor
    ) -> Tensor:
        with torch.autocast(x_t.device.type, torch.bfloat16):
            return self.denoiser(x_t, t, cond, *more, **named).to(x_t)
