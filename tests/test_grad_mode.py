"""Recording, on and off: in a block, in a function, in a generator, in each thread by itself."""

from __future__ import annotations

import threading

import pytest

import minicnn
from minicnn import enable_grad, is_grad_enabled, no_grad, set_grad_enabled


@pytest.fixture(autouse=True)
def on_before_and_after():
    assert is_grad_enabled()
    yield
    assert is_grad_enabled()


OFF = {
    "no_grad()": lambda: no_grad(),
    "no_grad": lambda: no_grad,
    "set_grad_enabled(False)": lambda: set_grad_enabled(False),
}
off = pytest.mark.parametrize("off", OFF)


@off
def test_a_decorated_function_is_off_and_nothing_else(off):
    @OFF[off]()
    def function(x):
        """What it says."""
        return is_grad_enabled(), x

    assert is_grad_enabled()
    assert function(3) == (False, 3)
    assert (function.__name__, function.__doc__) == ("function", "What it says.")


@off
def test_a_decorated_function_that_raises_leaves_the_mode_as_it_was(off):
    @OFF[off]()
    def function():
        raise KeyError("x")

    with pytest.raises(KeyError):
        function()


@off
def test_a_decorated_function_may_call_itself(off):
    @OFF[off]()
    def function(n):
        if n:
            function(n - 1)
        return is_grad_enabled()

    assert function(3) is False


@off
def test_a_decorated_generator_is_off_inside_and_not_between(off):
    @OFF[off]()
    def steps():
        for _ in range(3):
            yield is_grad_enabled()

    for inside in steps():
        assert inside is False
        assert is_grad_enabled()


def test_a_decorated_generator_takes_what_is_sent_and_thrown():
    seen = []

    @no_grad()
    def steps():
        try:
            seen.append((yield 1))
            yield 2
        except KeyError:
            seen.append(is_grad_enabled())
            yield 3
        finally:
            seen.append(is_grad_enabled())
        return 4

    generator = steps()
    assert next(generator) == 1
    assert generator.send("a") == 2
    assert generator.throw(KeyError()) == 3
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == 4
    assert seen == ["a", False, False]


def test_a_decorated_generator_that_is_closed_early_ends_inside():
    ended = []

    @no_grad()
    def steps():
        try:
            yield
        finally:
            ended.append(is_grad_enabled())

    generator = steps()
    next(generator)
    generator.close()
    assert ended == [False]


def test_a_method_and_a_property_and_a_lambda():
    class Thing:
        @no_grad()
        def method(self):
            return is_grad_enabled()

        @property
        @no_grad()
        def value(self):
            return is_grad_enabled()

    assert Thing().method() is Thing().value is no_grad()(lambda: is_grad_enabled())() is False


def test_what_can_not_be_decorated_is_refused_by_name():
    async def waiting():
        return 1

    async def items():
        yield 1

    for wrong in (waiting, items):
        with pytest.raises(TypeError, match=wrong.__name__):
            no_grad()(wrong)
    with pytest.raises(TypeError, match="class"):
        no_grad()(threading.Thread)
    with pytest.raises(TypeError, match="3"):
        set_grad_enabled(False)(3)
    for wrong in (None, 1, len):
        with pytest.raises(TypeError, match="True or False"):
            set_grad_enabled(wrong)


def test_blocks_in_blocks():
    with no_grad():
        with enable_grad():
            assert is_grad_enabled()
            with set_grad_enabled(False):
                assert not is_grad_enabled()
            assert is_grad_enabled()
        assert not is_grad_enabled()


def test_one_block_may_be_entered_again_and_again():
    block = no_grad()
    with block, block:
        assert not is_grad_enabled()
    with block:
        assert not is_grad_enabled()


def test_as_a_statement_it_holds_from_there_on():
    set_grad_enabled(False)
    assert not is_grad_enabled()
    set_grad_enabled(True)


def test_each_thread_has_its_own_even_through_one_decorated_function():
    inside, outside = threading.Barrier(2), threading.Barrier(2)

    @no_grad()
    def meet():
        inside.wait(10)
        return is_grad_enabled()

    modes = {}

    def work(name, mode):
        with set_grad_enabled(mode):
            meet()
            outside.wait(10)
            modes[name] = is_grad_enabled()

    others = [threading.Thread(target=work, args=each) for each in (("a", True), ("b", False))]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    assert modes == {"a": True, "b": False}


@off
def test_what_is_computed_where_it_is_off_has_no_history(off):
    x = minicnn.ones(2, requires_grad=True)
    y = OFF[off]()(lambda: x * 2)()
    assert y.is_leaf
    assert not y.requires_grad
    assert not (x * 2).is_leaf
