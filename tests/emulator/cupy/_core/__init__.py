from ._routines_linalg import get_compute_type as get_compute_type
from ._routines_linalg import set_compute_type as set_compute_type
