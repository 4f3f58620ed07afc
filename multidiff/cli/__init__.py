"""The command line."""

import os

# Before torch is imported. By default, threads of OpenMP wait in a loop, which takes the time of those that work: a
# training step on two busy cores is 7 to 20 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
