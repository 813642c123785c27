"""Settings for all tests."""

import torch
from hypothesis import settings

# The same examples every time, so that what passes here passes elsewhere.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("fixed")
torch.set_num_threads(2)
