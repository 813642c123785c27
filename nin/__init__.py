"""nin: Network in Network (Lin, Chen and Yan 2013), trained with minicnn."""
