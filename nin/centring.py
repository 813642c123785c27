"""Filters without a mean: they see differences, and not how bright an image is."""

from __future__ import annotations

import math
from collections.abc import Iterable

from minicnn import Tensor, nn, no_grad


def centre_filters_(weight: Tensor) -> None:
    """Give each filter of weight (C_out, C_in, …) mean 0, and the gain √2 / √(1 - 1/π).

    What comes out of a ReLU is positive, so filters with a mean see mostly how bright an image is,
    give all images much the same output, and the ReLU on the logits soon silences whole classes.
    Centred ones see differences; the larger gain replaces the mean's share of the output's variance
    (Brock, De and Smith 2021, arXiv 2101.08692, section 4, where weights are kept so throughout).
    """
    axes = tuple(range(1, weight.ndim))
    if math.prod(weight.shape[1:]) < 2:
        return  # a filter of one weight is nothing without its mean
    gain = nn.init.calculate_gain("relu") / math.sqrt(1 - 1 / math.pi)
    with no_grad():
        filters = weight.cpu()  # so that a run begins with the same numbers on any device
        centred = filters - filters.mean(axes, keepdim=True)
        fan_in = math.prod(weight.shape[1:])
        std = (centred * centred).mean(axes, keepdim=True).sqrt()
        weight.copy_((centred / std * (gain / math.sqrt(fan_in))).to(weight.device))


def centre_gradients_(parameters: Iterable[nn.Parameter]) -> None:
    """Take the mean of each filter's gradient away, so that a step leaves the filter's mean at 0.

    Momentum is a sum of such gradients, and weight decay a multiple of the filter, so a filter that
    begins with mean 0 keeps it (gradient centralization: Yong et al. 2020, arXiv 2004.01461,
    section 3). Filters are the parameters (C_out, C_in, kh, kw) with several input channels: the
    brightness of the images themselves says something, that of maps behind a ReLU does not.
    """
    with no_grad():
        for p in parameters:
            gradient = p.grad
            if gradient is not None and p.ndim == 4 and p.shape[1] > 1:
                gradient -= gradient.mean((1, 2, 3), keepdim=True)
