"""The kernels of the CuPy backend, in C, and the functions that launch them.

Most kernels are the body of a loop over the elements of their result, `i`, or over packs of them: a
thread each, which computes it from all that it depends on. `sum_pixels` alone has threads that wait
for one another. Nothing is added up in an order that chance decides, so results are the same from
run to run. `raw` arguments are indexed by the body, the others are the i-th element themselves.

Kernels are compiled when they are first called, for the types of the arrays that they are given: T
and P are such types. A number has no type to CuPy, so the numbers have theirs written out.
What each function computes is said in `protocol.py`.
"""
