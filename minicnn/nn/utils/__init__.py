"""What is done to gradients between `backward` and a step, under the names of `torch.nn.utils`."""

from .clip_grad import clip_grad_norm_ as clip_grad_norm_
