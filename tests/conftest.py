"""One thread a test process, set before torch is imported: figures then do not move with the machine."""

import os

import hypothesis

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# No deadline: the machine may be shared. Derandomised: a red run is red again.
hypothesis.settings.register_profile("iteralign", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("iteralign")
