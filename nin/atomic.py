"""The project's one way to write a file (minicnn/atomic.py), for the application's files."""

from minicnn.atomic import is_leftover as is_leftover
from minicnn.atomic import write as write
