"""The guided estimate, and the teacher's steps, are the stationary points of the distillations."""

import pytest
import torch

from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import NetworkDenoiser, coefficients
from multidiff.diffusion.grids import Trailing
from multidiff.diffusion.guidance import ClassifierFreeGuidance, DistilledGuidance, guided
from multidiff.diffusion.objectives import (
    Context,
    GridTimes,
    GuidedDistillation,
    ProgressiveDistillation,
    Uniform,
    UniformWeighting,
)
from multidiff.diffusion.predictions import Sample, Velocity
from multidiff.diffusion.samplers import DDIM, integrate
from multidiff.diffusion.schedules import Cosine, LinearVP, RectifiedFlow

from .few_step import BATCH, Perceptron, gaussian_1d, mixture_1d, noisy, single, trained
from .gaussian import Gaussian
from .test_objectives import Constant, generator

RANGE = (1.0, 4.0)


def distillation(guidance=RANGE):
    return GuidedDistillation(times=Uniform(), weighting=UniformWeighting(), guidance=list(guidance))


def progressive(steps, substeps=2, guidance=1.0):
    return ProgressiveDistillation(
        times=GridTimes(steps), weighting=UniformWeighting(), substeps=substeps, guidance=guidance
    )


class Answer(NetworkDenoiser):
    """A student that knows its own estimate as a function of the noisy sample, the time and the scale."""

    inputs = ("guidance",)

    def __init__(self, schedule, estimate):
        super().__init__(torch.nn.Identity(), schedule, Sample())
        self.inputs, self.estimate = ("guidance",), estimate

    def output(self, x_t, t, cond=None, s=None, scale=None):
        return self.estimate(x_t, t, scale)


def loss(objective, student, teacher, t, count=64):
    """The largest loss of a sample; the teacher's condition is the mean 2, and the student has none."""
    x0, noise = torch.randn(2, count, 1, generator=generator(), dtype=torch.float64)
    cond = Conditioning(torch.full((count, 1), 2.0, dtype=torch.float64))
    context = Context(student, x0, None, generator(), teacher=teacher, teacher_cond=cond)
    return objective.at(context, torch.full((count,), t, dtype=torch.float64), noise).max().item()


def guided_estimate(schedule, shift=0.0):
    """Of `Gaussian`: guidance moves the mean to ``2 scale``, as its estimate is linear in the mean."""

    def estimate(x_t, t, scale):
        return Gaussian(schedule)(x_t, t, Conditioning(2.0 * (scale + shift)[:, None]))

    return estimate


@pytest.mark.parametrize("t", [0.1, 0.5, 0.99])
def test_the_guided_mean_has_zero_loss_at_every_scale(schedule, t):
    objective, teacher = distillation(), Gaussian(schedule)
    assert loss(objective, Answer(schedule, guided_estimate(schedule)), teacher, t) < 1e-20
    assert loss(objective, Answer(schedule, guided_estimate(schedule, 0.1)), teacher, t) > 1e-8


def test_an_unguided_student_is_noticed():
    student = Answer(Cosine(), lambda x_t, t, scale: guided_estimate(Cosine())(x_t, t, torch.ones_like(scale)))
    assert loss(distillation(), student, Gaussian(Cosine()), 0.5) > 0.1


def test_scales_are_uniform_in_their_range_and_given_to_the_network_if_they_vary():
    context = Context(Answer(Cosine(), None), torch.zeros(5000, 1), None, generator())
    target, given = distillation().scale(context)
    assert target is given
    assert (target.min() >= 1, target.max() <= 4, target.mean().item()) == (True, True, pytest.approx(2.5, abs=0.05))
    target, given = distillation((3.0, 3.0)).scale(context)
    assert (target == 3).all()
    assert given is None
    assert distillation((1.0, 1.0)).scale(context) == (None, None)


def test_a_teacher_that_takes_the_scale_is_not_guided_again():
    x_t, t = torch.randn(2, 8, 1, generator=generator(), dtype=torch.float64)[0], torch.full((8,), 0.5).double()
    scale = torch.linspace(1, 4, 8, dtype=torch.float64)
    student = Answer(Cosine(), guided_estimate(Cosine()))
    assert isinstance(guided(student, scale), DistilledGuidance)
    teacher = Gaussian(Cosine())
    assert isinstance(guided(teacher, scale), ClassifierFreeGuidance)
    cond = Conditioning(torch.full((8, 1), 2.0, dtype=torch.float64))
    torch.testing.assert_close(guided(student, scale)(x_t, t, cond), guided(teacher, scale)(x_t, t, cond))


@pytest.mark.parametrize("schedule", [Cosine(), LinearVP(), RectifiedFlow()], ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize(("steps", "substeps"), [(4, 2), (2, 3), (1, 8)])
def test_one_step_of_the_student_is_several_of_the_teacher(schedule, steps, substeps):
    """A student whose estimate is the target samples what the teacher samples in ``steps * substeps`` steps."""
    law, objective = mixture_1d(schedule), progressive(steps, substeps)
    x, _ = noisy(law, 1.0, 32)
    times = torch.linspace(1, 0, steps * substeps + 1, dtype=torch.float64)
    context = Context(Answer(schedule, None), x, None, generator(), teacher=law)

    def student(x_t, t):
        return objective.estimate(context, x_t, t.expand(len(x_t)), None)

    fine, coarse = (
        integrate(denoise, x, None, DDIM(schedule), grid)
        for denoise, grid in ((law, times), (student, times[::substeps]))
    )
    torch.testing.assert_close(fine, coarse)


def test_the_exact_student_of_the_steps_has_zero_loss():
    law, objective = mixture_1d(Cosine()), progressive(4)

    student = Answer(Cosine(), lambda x_t, t, scale: law(x_t, t))
    x0, noise = torch.randn(2, 64, 1, generator=generator(), dtype=torch.float64)
    context = Context(student, x0, None, generator(), teacher=law)
    t = torch.full((64,), 0.75, dtype=torch.float64)
    assert objective.at(context, t, noise).max() > 1e-6  # the teacher itself takes only half of the way
    a, sigma = coefficients(Cosine(), t, x0)
    target = objective.estimate(context, a * x0 + sigma * noise, t, None)
    answered = Context(Answer(Cosine(), lambda x_t, t, scale: target), x0, None, generator(), teacher=law)
    assert not objective.at(answered, t, noise).any()


@pytest.mark.slow
def test_a_network_converges_to_the_guided_mean():
    """At every scale: the means are guided from 2 to 8, and the deviation is 0.5."""
    law = gaussian_1d(Cosine())
    known = Conditioning(torch.full((BATCH, 1), 2.0))
    student = trained(distillation(), law, steps=1000, teacher=Gaussian(Cosine()), teacher_cond=known)
    for t in (0.3, 0.6, 0.9):
        x_t, time = noisy(law, t)
        scale = torch.linspace(*RANGE, len(x_t), dtype=torch.float64)
        found = student(x_t.float(), time.float(), scale=scale.float()).double()
        assert (found - guided_estimate(Cosine())(x_t, time, scale)).square().mean().sqrt() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
def test_a_network_converges_to_the_steps_of_the_teacher(steps):
    """Its samples, in units of the data, whose deviation is 0.87, are those of the teacher in 4 times as many steps."""
    law = mixture_1d(Cosine())
    student = trained(progressive(steps, substeps=4), law, teacher=single(law))
    x, _ = noisy(law, 1.0)

    def integrated(denoiser, x, count):
        times = torch.linspace(1, 0, count + 1, dtype=x.dtype)
        return integrate(lambda x, t: denoiser(x, t.expand(len(x))), x, None, DDIM(Cosine()), times)

    found = integrated(student, x.float(), steps).double()
    assert (found - integrated(law, x, 4 * steps)).square().mean().sqrt() < 0.15


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_times_are_those_at_which_the_sampler_evaluates(steps):
    times = GridTimes(steps).sample(Cosine(), 1000, generator())
    assert sorted(set(times.tolist())) == pytest.approx([k / steps for k in range(1, steps + 1)], abs=1e-4)
    grid = Trailing()(Cosine(), steps)[:-1]
    assert sorted(grid.tolist()) == pytest.approx([k / steps for k in range(1, steps + 1)])


def test_what_the_models_are_trained_for():
    assert (distillation().inputs, distillation().trained.guidance, distillation().trained.steps) == (
        ("guidance",),
        RANGE,
        None,
    )
    assert (progressive(2).trained.steps, progressive(2).trained.samplers) == (2, ("ddim",))


def test_a_student_of_steps_must_be_a_map_and_have_a_step():
    with pytest.raises(ValueError, match="Sample is not the identity"):
        progressive(2).check(NetworkDenoiser(Perceptron(), Cosine(), Sample()), None, (1,))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        GridTimes(0)
    with pytest.raises(ValueError, match="substeps must be at least 1"):
        progressive(2, substeps=0)
    student = NetworkDenoiser(Constant(torch.zeros(2, 1)), Cosine(), Velocity())
    with pytest.raises(ValueError, match="set teacher=MODEL_DIR"):
        distillation()(Context(student, torch.zeros(2, 1), None, generator()))
