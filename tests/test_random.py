"""Random numbers: generators, their streams and states, and what is drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Generator

from .arrays import array


def drawn(generator):
    return minicnn.rand(5, generator=generator).tolist()


# --- generators ----------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_numbers_and_another_others():
    first, again, other = (drawn(Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_numbers_go_on_and_do_not_come_again():
    generator = Generator().manual_seed(3)
    assert drawn(generator) != drawn(generator)


def test_a_state_that_is_set_draws_what_came_after_it():
    generator = Generator().manual_seed(3)
    drawn(generator)
    state = generator.get_state()
    after = drawn(generator)
    assert drawn(Generator().set_state(state)) == after
    assert generator.initial_seed() == 3


def test_a_clone_goes_its_own_way():
    generator = Generator().manual_seed(3)
    clone = generator.clone()
    drawn(clone), drawn(clone)
    assert drawn(generator) == drawn(Generator().manual_seed(3))


def test_parts_of_a_stream_are_apart_from_one_another_and_from_it():
    streams = [Generator().manual_seed(3), Generator().manual_seed(3).split()]
    streams += [streams[1].fold_in(number) for number in (1, 2)]
    numbers = [tuple(drawn(stream)) for stream in streams]
    assert len(set(numbers)) == len(numbers)


# --- what is drawn -------------------------------------------------------------------------------


def test_randint_from_0_on():
    drawn = minicnn.randint(3, (1000,))
    assert sorted(set(drawn.tolist())) == [0, 1, 2]


def test_a_permutation_has_every_number_once():
    assert sorted(minicnn.randperm(100).tolist()) == list(range(100))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_go_on_where_skip_says(dtype, backend):
    whole = backend.uniform((1, 2), (20,), dtype)
    for skip in range(10):
        part = backend.uniform((1, 2), (2, 5), dtype, skip)
        assert part.ravel().tolist() == whole[skip : skip + 10].tolist()


def test_both_backends_draw_the_same_numbers():
    for make in (minicnn.rand, minicnn.randn):
        drawn = []
        for device in ("cpu", minicnn.get_default_device()):
            minicnn.manual_seed(7)
            drawn.append(array(make(3, 5, device=device)))
        assert np.array_equal(*drawn)
