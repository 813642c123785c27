"""What is done to gradients before a step, and to modules as they're made, as `torch.nn.utils`."""

from .clip_grad import clip_grad_norm_ as clip_grad_norm_
from .skip_init import skip_init as skip_init
