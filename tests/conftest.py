"""Settings for all tests."""

import os

import torch
from hypothesis import Phase, settings

# The same examples every time, so that what passes here passes elsewhere.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
# For mutation testing, where it is enough to know that a test fails.
settings.register_profile("verdict", settings.get_profile("fixed"), phases=[Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
