"""The plan for many ranks: what the model says where the answer is known."""

from __future__ import annotations

import pytest

from benchmarks.scaling import Network, Work, work_of

pytestmark = pytest.mark.cpu
FREE = Network("nothing", 0.0, 0.0, 0.0)
ETHERNET = Network("Ethernet", 30e-6, 8e-10)


def test_one_rank_is_fully_efficient_and_sends_nothing():
    work = Work(0.01, 0.001, 7e6)
    assert ETHERNET.all_reduce(1, 7e6) == 0
    assert work.strong(64, 1, ETHERNET) == work.weak(64, 1, ETHERNET) == 1


def test_without_a_cost_to_send_only_what_is_fixed_and_what_does_not_divide_is_lost():
    assert Work(0.0, 0.001, 7e6).strong(64, 64, FREE) == pytest.approx(1)
    assert Work(0.0, 0.001, 7e6).strong(65, 64, FREE) == pytest.approx(65 / 128)
    assert Work(0.001, 0.001, 7e6).strong(4, 4, FREE) == pytest.approx(5 / 8)
    assert Work(0.001, 0.001, 7e6).weak(4, 1024, FREE) == 1


@pytest.mark.parametrize("size", [4, 7e6])
def test_an_all_reduce_takes_no_less_than_its_lower_bounds(size):
    for p in (2, 3, 64, 1024):
        taken = ETHERNET.all_reduce(p, size)
        assert taken >= 30e-6 * p.bit_length() - 30e-6
        assert taken >= 2 * (p - 1) / p * size * 8e-10


def test_the_line_goes_through_the_smallest_and_the_largest_part():
    work = work_of("quick", {"1": 0.003, "16": 0.02, "64": 0.066})
    assert (work.step(1), work.step(64)) == pytest.approx((0.003, 0.066))
    assert work.size == 4 * 221290
