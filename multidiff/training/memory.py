"""The memory of a training step, before there is one: tensors without values go forward and backward."""

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multidiff.configuration import instantiate
from multidiff.data.dataset import Dataset
from multidiff.data.machine import memory
from multidiff.diffusion.objectives import Context, Denoising
from multidiff.model import Model
from multidiff.nn.frozen import Frozen
from multidiff.pretrained.networks import networks_of
from multidiff.training.module import DiffusionModule
from multidiff.training.speed import device_kind

PRECISIONS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Types in which a step computes, by the precision of the trainer; others compute in that of the weights."""

SIDE = 256
"""Of a square weight by which the moments of an optimiser are measured."""

ROOM = 0.8
"""Of the memory of a device, what a step may take: the rest is for data, for codecs and for what is cached."""

COUNTED = 2**18
"""Numbers in a batch from which the memory of a step is computed beforehand, which takes a second."""

Call = tuple[int, Sequence[Any], Mapping[str, Any]]
"""A call of a network: its place in a list of networks, and the arguments."""


class _ReachedError(Exception):
    """The arguments of the denoiser are known."""


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Peak memory of a training step, in bytes.

    Attributes:
        weights: of all networks and of their moving average.
        moments: of the optimiser.
        step: gradients, activations and what the backward pass computes.
    """

    weights: int
    moments: int
    step: int

    @property
    def total(self) -> int:
        return self.weights + self.moments + self.step

    def __str__(self) -> str:
        parts = {"weights": self.weights, "optimiser": self.moments, "activations and gradients": self.step}
        each = ", ".join(f"{size / 1e9:.2g} {name}" for name, size in parts.items())
        return f"{self.total / 1e9:.2g} GB expected: {each}"


def step_memory(
    module: DiffusionModule, dataset: Dataset, settings: Mapping[str, Any], batch_size: int
) -> StepMemory | None:
    """The memory of a step; None for objectives other than denoising, which call a network otherwise.

    Nothing of that size is allocated. The step is that of the largest samples, with the condition of the first one.
    What codecs and frozen text encoders compute is not counted.

    Args:
        module: that trains.
        dataset: the training data, before a codec encodes them.
        settings: of the training.
        batch_size: samples of a step.
    """
    if not isinstance(module.objective, Denoising):
        return None
    networks = [module.model.denoiser.network, *_trained_encoders(module.model)]
    return expected_memory(module, settings, networks, list(_calls(module, dataset, batch_size, networks)))


def expected_memory(
    module: nn.Module, settings: Mapping[str, Any], networks: Sequence[nn.Module], calls: Sequence[Call]
) -> StepMemory:
    """The memory of a step of ``module`` that makes these ``calls`` of ``networks``, as the ``settings`` say."""
    dtype = PRECISIONS.get(settings["trainer"]["precision"])
    step = peak_of_step(networks, calls, device_kind(settings["trainer"]["accelerator"]), dtype)
    trained = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    return StepMemory(_held(module), round(trained * moments(settings["optimizer"])), step)


def lack_of_memory(memory_of: Callable[[int], StepMemory | None], count: int, size: int, kind: str) -> str | None:
    """What to tell if a step is expected to need more memory than there is; None if it is not, or is small.

    Args:
        memory_of: a step, by the samples of a batch; None if it is unknown.
        count: samples of a batch.
        size: numbers in a sample.
        kind: of the device, see `device_kind`.
    """
    if count * size < COUNTED or (expected := memory_of(count)) is None or expected.total <= (room := room_of(kind)):
        return None
    fits = largest_batch(memory_of, room, count // 2)
    advice = f"set loader.batch_size={fits}" if fits else "not even one sample fits: use smaller ones, or latents"
    return f"a step needs about {expected.total / 1e9:.2g} GB, but {room / 1e9:.2g} GB are available: {advice}"


def room_of(kind: str) -> int:
    """Bytes that a step may take on the device that `device_kind` names."""
    if kind == "cuda":
        return round(ROOM * torch.cuda.mem_get_info()[0])
    if kind == "mps":
        return round(ROOM * torch.mps.recommended_max_memory())
    return round(ROOM * memory())


def largest_batch(memory_of: Callable[[int], StepMemory | None], room: int, most: int) -> int:
    """The first of ``most``, its half and so on, of which a step needs at most ``room`` bytes; 0 if one needs more.

    Args:
        memory_of: a step, by the samples of a batch; None if it is unknown, which counts as enough room.
        room: bytes that there are.
        most: samples.
    """
    while most and (expected := memory_of(most)) is not None and expected.total > room:
        most //= 2
    return most


def peak_of_step(
    networks: Sequence[nn.Module], calls: Sequence[Call], device: str = "cpu", dtype: torch.dtype | None = None
) -> int:
    """Bytes that calls of networks, forward and backward, need at most, without those of the weights.

    Args:
        networks: whose weights with a gradient train.
        calls: of them, with arguments of which only shapes and types count.
        device: on which they would run.
        dtype: of autocast; None for the types of the weights.
    """
    step = _Step(networks)
    with FakeTensorMode(allow_non_fake_inputs=True), _Live() as live:

        def empty(value: Tensor) -> Tensor:
            return torch.empty(value.shape, dtype=value.dtype, device=device, requires_grad=value.requires_grad)

        weights = {name: empty(value) for name, value in [*step.named_parameters(), *step.named_buffers()]}
        before = live.now
        arguments = [(place, _mapped(given, empty), _mapped(named, empty)) for place, given, named in calls]
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            functional_call(step, weights, (arguments,))
        return live.peak - before


class _Step(nn.Module):
    """Networks, and the gradients of what they make: with gradient checkpointing, they are called again for these."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, calls: Sequence[Call]) -> None:
        outputs = [self.networks[place](*given, **named) for place, given, named in calls]
        made = [each for each in tree_leaves(outputs) if isinstance(each, Tensor) and each.requires_grad]
        torch.stack([each.float().square().mean() for each in made]).sum().backward()


class _Live(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, as long as they are in use.

    Attributes:
        now: bytes in use.
        peak: most of them so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._add(value.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _calls(module: DiffusionModule, dataset: Dataset, count: int, networks: Sequence[nn.Module]) -> Iterator[Call]:
    """The calls of ``networks`` in a step of ``count`` samples, up to that of the denoiser, which is not computed."""
    model = module.model
    found: list[Call] = []

    def note(place: int) -> Callable[..., None]:
        def hook(_: nn.Module, given: Sequence[Any], named: Mapping[str, Any]) -> None:
            found.append((place, given, named))
            if place == 0:
                raise _ReachedError

        return hook

    hooks = [network.register_forward_pre_hook(note(i), with_kwargs=True) for i, network in enumerate(networks)]
    facts = dataset.facts(0)
    cond = model.condition(model.conditioner.known([model.conditioner.own(facts)] * count))
    x0 = torch.zeros(count, *_largest(model, dataset))
    denoiser = model.denoiser.seeing(x0, x0) if model.denoiser.masked else model.denoiser
    context = Context(denoiser, x0, cond, torch.Generator(), module.averaged.denoiser)
    try:
        with _uncompiled(networks[0]):
            module.objective.at(context, torch.full((count,), 0.5), torch.zeros_like(x0))
    except _ReachedError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    yield from found


def _largest(model: Model, dataset: Dataset) -> tuple[int, ...]:
    """The shape of the largest x0 of the data."""
    shapes = [dataset.shape] if dataset.shapes is None else dataset.shapes.tolist()
    return max((model.codec.shape(tuple(shape)) for shape in shapes), key=math.prod)


def _trained_encoders(model: Model) -> list[nn.Module]:
    """The text encoders of a pretrained pipeline whose weights train."""
    encoders = [network for name, network in networks_of(model).items() if name.startswith("text_encoder")]
    return [each for each in encoders if any(weight.requires_grad for weight in each.parameters())]


@contextmanager
def _uncompiled(network: nn.Module) -> Iterator[None]:
    """Call ``network`` as it was before its compilation."""
    compiled, network._compiled_call_impl = network._compiled_call_impl, None
    try:
        yield
    finally:
        network._compiled_call_impl = compiled


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with ``function`` of each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: _mapped(each, function) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(each, function) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _mapped(each, function) for name, each in vars(value).items()})
    return value


def _held(module: nn.Module) -> int:
    """Bytes of all weights in ``module``, those of frozen networks included; shared ones count once."""
    frozen = [part.module for part in module.modules() if isinstance(part, Frozen)]
    parts = [part for each in [module, *frozen] for part in (*each.parameters(), *each.buffers())]
    return sum(part.nbytes for part in {id(part): part for part in parts}.values())


def moments(config: Mapping[str, Any]) -> float:
    """Bytes that an optimiser keeps of each weight."""
    weight = nn.Parameter(torch.zeros(SIDE, SIDE))
    optimizer = instantiate(Optimizer, config, params=[weight])
    if hasattr(optimizer, "train"):  # schedule-free
        optimizer.train()
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = [value for value in tree_leaves(dict(optimizer.state[weight])) if isinstance(value, Tensor)]
    return sum(value.nbytes for value in kept) / weight.numel()
