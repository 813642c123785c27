"""What 1×1 convolutions and Network in Network do, shown by running them: `python -m nin.study`."""
