"""Samplers, one family per file. Each is a pure step from time t to time s."""

from multidiff.diffusion.samplers.adaptive import Adaptive
from multidiff.diffusion.samplers.ancestral import DDIM, DDPM, Ancestral
from multidiff.diffusion.samplers.base import History, Sampler, integrate, sample
from multidiff.diffusion.samplers.consistency import LCM, Consistency, skip_connection
from multidiff.diffusion.samplers.dpm_solver import DPMSolverMultistep, DPMSolverSinglestep
from multidiff.diffusion.samplers.inversion import invert
from multidiff.diffusion.samplers.linear_multistep import DEIS, IPNDM, LMS
from multidiff.diffusion.samplers.mean_flow import MeanFlow
from multidiff.diffusion.samplers.restart import Restart
from multidiff.diffusion.samplers.runge_kutta import Euler, Heun, Midpoint
from multidiff.diffusion.samplers.unified import SASolver, UniPC

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "IPNDM",
    "LCM",
    "LMS",
    "Adaptive",
    "Ancestral",
    "Consistency",
    "DPMSolverMultistep",
    "DPMSolverSinglestep",
    "Euler",
    "Heun",
    "History",
    "MeanFlow",
    "Midpoint",
    "Restart",
    "SASolver",
    "Sampler",
    "UniPC",
    "integrate",
    "invert",
    "sample",
    "skip_connection",
]
