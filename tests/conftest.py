"""One thread: the tests' tensors are tiny, and waking a second one costs more than it gives."""

import torch

torch.set_num_threads(1)
