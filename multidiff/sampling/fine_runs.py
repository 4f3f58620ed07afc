"""The samples of a plan on a fine grid, to which grids of few steps are fitted."""

import torch

from multidiff.diffusion.optimized_grid import FineRuns
from multidiff.errors import refusals
from multidiff.sampling import few_step
from multidiff.sampling.plan import Plan


@torch.no_grad()
def fine_runs(plan: Plan) -> FineRuns:
    """All samples of ``plan`` on a fine grid, in its batches.

    Raises:
        InputError: a condition cannot be used, or the model was trained for few steps.
    """
    few_step.check_denoiser(plan.pipeline.trained)
    denoiser, conditions = plan.pipeline.model.denoiser, plan.conditions()
    runs = FineRuns(denoiser.schedule, denoiser.log_snr_range)
    with refusals():
        for rows in plan.batches:
            noise = plan.seeds.noise(rows, plan.pipeline.noise)
            runs.add(plan.denoiser(rows, conditions), noise, conditions(plan.fields(rows)))
    return runs
