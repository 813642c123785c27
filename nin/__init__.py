"""nin: Network in Network (Lin, Chen and Yan 2013), trained with minicnn."""

import minicnn as minicnn  # first of all, so that Ctrl-C is a line (minicnn/interruption.py)
