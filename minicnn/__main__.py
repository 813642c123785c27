"""`python -m minicnn`: what it runs on, for a report of a fault."""

from . import show_config

show_config()
