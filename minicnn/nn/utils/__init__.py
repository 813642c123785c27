"""Clipping gradients, and making modules without initial values, as in `torch.nn.utils`."""

from .clip_grad import clip_grad_norm_ as clip_grad_norm_
from .skip_init import skip_init as skip_init
