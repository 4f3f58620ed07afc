"""Profile of the training step: a trace for chrome://tracing or Perfetto, and a summary."""

import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler
from torch import nn
from torch.profiler import ProfilerActivity, profile

from multidiff.data.files import atomic_path

log = logging.getLogger(__name__)

SKIPPED = 5
"""Steps in the beginning that warm up and are not counted."""

TIMED = 50
"""Steps that the page is of; what a trace would cost does not fall on them."""

TRACED = 3
"""Steps that the trace is of, after the timed ones."""

OPERATORS = 12
"""Of the trace, the costliest that are named."""

PARTS = {
    "train_dataloader_next": "loading",
    "batch_to_device": "loading",
    "transfer_batch_to_device": "loading",
    "network forward": "network, forward",
    "backward": "network, backward",
    "training_step": "noise, condition, loss",
    "configure_gradient_clipping": "clipping and optimizer",
    "optimizer_step": "clipping and optimizer",
    "ema": "moving average",
}
"""The last word of what Lightning calls a section, and what it is called here; the rest is `AROUND`."""

AROUND = "logging, callbacks, Lightning"


class StepProfiler(Profiler):
    """A Lightning profiler that measures each part of a step and traces a few steps.

    Time is attributed to the innermost open section.

    Args:
        folder: where ``trace.json`` and ``summary.md`` go, as soon as enough steps are done or training ends.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.batches = 0
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0
        self._trace: profile | None = None
        self._operators = ""

    def watch(self, network: nn.Module) -> None:
        """Record the calls of ``network`` as a section."""
        call = network._compiled_call_impl or network._call_impl

        def timed(*arguments: Any, **named: Any) -> Any:
            self.start("network forward")
            try:
                return call(*arguments, **named)
            finally:
                self.stop("network forward")

        network._compiled_call_impl = timed  # around what is compiled, where a hook would be compiled too

    def start(self, action_name: str) -> None:
        self._count()
        if action_name == "run_training_batch":
            self._next_batch()
        self._open.append(action_name)

    def stop(self, action_name: str) -> None:
        self._count()
        if action_name in self._open:  # else it began before this was made
            self._open.remove(action_name)

    def describe(self) -> None:
        """Write the summary, once; Lightning calls this when training ends, and `teardown` in any case."""
        self._finish_trace()
        if any(self.seconds.values()):
            self._write()
        elif self.batches:
            log.warning(
                "trainer.profile: %d batches are too few, since the first %d are warm-up", self.batches, SKIPPED
            )
        self.seconds.clear()
        self.batches = 0

    def teardown(self, stage: str | None) -> None:
        self.describe()
        super().teardown(stage)

    def summary(self) -> str:
        """The summary, as Markdown: seconds a step and share of each part, then the costliest operators."""
        steps = max(1, min(self.batches, SKIPPED + TIMED) - SKIPPED)
        whole = sum(self.seconds.values())
        rows = [
            f"| {part} | {1000 * seconds / steps:.2f} | {seconds / whole:.1%} |"
            for part, seconds in sorted(self.seconds.items(), key=lambda item: -item[1])
        ]
        network = sum(seconds for part, seconds in self.seconds.items() if part.startswith("network"))
        return "\n".join(
            [
                f"# Where the time goes: {steps} batches, {1000 * whole / steps:.1f} ms each",
                "",
                "| | ms a batch | share |",
                "| --- | --- | --- |",
                *rows,
                "",
                f"Outside the network: {1 - network / whole:.1%}. GPU work counts in the part that waits for it.",
                "",
                self._operators,
            ]
        )

    def _count(self) -> None:
        """Credit the time since the last change to the innermost section."""
        now = time.perf_counter()
        if self._open and SKIPPED < self.batches <= SKIPPED + TIMED:
            self.seconds[part_of(self._open[-1])] += now - self._since
        self._since = now

    def _next_batch(self) -> None:
        self.batches += 1
        if self.batches == SKIPPED + TIMED + 1:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._trace = profile(activities=activities)
            self._trace.start()
        elif self.batches == SKIPPED + TIMED + TRACED + 1:
            self._finish_trace()
            self._write()

    def _finish_trace(self) -> None:
        if self._trace is None:
            return
        self._trace.stop()
        with atomic_path(self.folder / "trace.json") as path:
            self._trace.export_chrome_trace(str(path))
        averages = self._trace.key_averages()
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = averages.table(sort_by=by, row_limit=OPERATORS, max_name_column_width=50)
        self._operators = f"The costliest operators of {TRACED} batches, of which trace.json is:\n\n```\n{table}\n```\n"
        self._trace = None

    def _write(self) -> None:
        with atomic_path(self.folder / "summary.md") as path:
            path.write_text(self.summary(), "utf-8")


def part_of(action: str) -> str:
    """The part of a step that a section belongs to, by its name, such as ``[Strategy]DDPStrategy.backward``."""
    if action.startswith("[Callback]"):
        return AROUND
    name = action.rpartition(".")[2]
    return "validation" if "val_" in name or "validation" in name else PARTS.get(name, AROUND)
