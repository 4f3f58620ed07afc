"""Train once where it is imported: processes that are forked from here have loaded all that a start needs."""

import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from tests.tiny import tiny_train

with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
    tiny_train(Path(folder) / "run", "trainer.max_steps=1")
