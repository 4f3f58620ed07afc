"""Samplers, one family a file; each is a pure step from time t to time s."""

from multidiff.diffusion.samplers.ancestral import DDIM, DDPM
from multidiff.diffusion.samplers.base import History, Sampler, sample
from multidiff.diffusion.samplers.exponential import DPMSolverMultistep
from multidiff.diffusion.samplers.runge_kutta import Euler, Heun

__all__ = ["DDIM", "DDPM", "DPMSolverMultistep", "Euler", "Heun", "History", "Sampler", "sample"]
