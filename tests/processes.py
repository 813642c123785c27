"""Processes of their own for tests: forks of a server that has imported what they need."""

from __future__ import annotations

import multiprocessing

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["nin.train", "matplotlib.figure", "hypothesis", "pytest", "torch"]  # each takes long
)
