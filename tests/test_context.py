"""How a thread computes: its own context, the default one, and what threads take over."""

from __future__ import annotations

import threading

import pytest

import minicnn
from minicnn import context, nn
from minicnn.backends import threads
from minicnn.parallel import MicroBatches

pytestmark = pytest.mark.cpu


@pytest.fixture
def default():
    """Sets the default context's fields, and sets them back."""
    before = context._default
    yield context.set_default
    context._default = before


def seen_in_a_thread(ask=context.current):
    found = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join()
    return found[0]


def test_a_change_ends_with_its_block_and_with_an_error():
    def fail():
        with context.using(conv_algorithm="auto"):
            raise ZeroDivisionError(context.current().conv_algorithm)

    before = context.current()
    with pytest.raises(ZeroDivisionError, match="auto"):
        fail()
    assert context.current() is before


def test_a_block_that_ends_before_one_within_it_is_refused():
    def steps():
        with context.using(tf32=True):
            yield

    before, within = context.current(), steps()
    with pytest.raises(RuntimeError, match="where a generator yields"), context.using(threads=1):
        next(within)
    assert context.current() is before
    within.close()


def test_changes_within_changes_add_up():
    with context.using(conv_algorithm="auto"), context.using(tf32=True):
        assert context.current() == context.Context(conv_algorithm="auto", tf32=True)


def test_a_block_is_of_its_thread_alone():
    with context.using(conv_algorithm="winograd"):
        assert seen_in_a_thread().conv_algorithm == "im2col"


def test_the_default_holds_in_all_threads_but_those_that_use_another(default):
    with context.using(conv_algorithm="winograd"):
        default(conv_algorithm="auto")
        assert context.current().conv_algorithm == "winograd"
        assert seen_in_a_thread().conv_algorithm == "auto"
    assert context.current().conv_algorithm == "auto"


@pytest.mark.parametrize(
    "change", [context.set_default, lambda **c: context.using(**c).__enter__()]
)
def test_a_field_that_there_is_not_is_refused_by_name(change):
    with pytest.raises(TypeError, match="algorithm"):
        change(algorithm="auto")


def test_threads_that_work_for_another_compute_as_it_does():
    generator = minicnn.Generator()
    with context.using(conv_algorithm="winograd", tf32=True, generator=generator, threads=2):
        found = threads.spread(lambda own: context.current(), range(4))
    assert len(found) == 2
    want = context.Context(conv_algorithm="winograd", tf32=True, generator=generator, threads=1)
    assert set(found) == {want}


def test_pieces_on_threads_compute_as_the_caller_does():
    found = []

    class Noting(nn.Module):
        def forward(self, x):
            found.append(context.current())
            return x

    batches = MicroBatches(Noting(), threads=2, micro_batch=1)
    with context.using(conv_algorithm="winograd", tf32=True):
        batches.predict(minicnn.zeros(4, 1))
    pieces = [each for each in found if each.fixed_filters is not None]
    assert {(c.conv_algorithm, c.tf32, c.threads) for c in pieces} == {("winograd", True, 1)}
    assert {(c.first_image, c.images) for c in pieces} == {(i, 1) for i in range(4)}
