"""Whether operations are recorded: `no_grad` and the like, under PyTorch's names."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class _Mode(threading.local):
    """Each thread starts with recording on, and has its own contexts to come out of."""

    recording = True

    def __init__(self) -> None:
        self.before: list[bool] = []


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _mode.recording


class _Recording:
    """A `with` block, or a decorated function, in which recording is on or off."""

    mode: bool

    def __enter__(self) -> None:
        _mode.before.append(_mode.recording)
        _mode.recording = self.mode

    def __exit__(self, *exc: object) -> None:
        _mode.recording = _mode.before.pop()

    def __call__(self, function: Function) -> Function:
        name = type(self).__name__
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"@{name} is for functions, got {function!r}")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"@{name}: {function.__qualname__} is async, and others run while it waits; use"
                f" `with {name}` inside, around what does not wait"
            )

        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        def steps(*args: Any, **kwargs: Any) -> Any:
            return self._while_it_runs(function(*args, **kwargs))

        return wraps(function)(steps if inspect.isgeneratorfunction(function) else call)  # type: ignore[return-value]

    def _while_it_runs(self, generator: Any) -> Iterator[Any]:
        """The generator's items; the mode holds inside it, and not where its items are used."""
        resume: Callable[[], Any] = lambda: next(generator)  # noqa: E731
        while True:
            try:
                with self:
                    item = resume()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield item
            except GeneratorExit:
                with self:
                    generator.close()
                raise
            except BaseException as error:
                resume = lambda error=error: generator.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                resume = lambda sent=sent: generator.send(sent)  # type: ignore[misc]  # noqa: E731


class set_grad_enabled(_Recording):
    """Switch recording on or off, for the rest of the thread, a `with` block or a function."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled: expected True or False, got {mode!r}")
        self.mode, self._outside = mode, _mode.recording
        _mode.recording = mode

    def __enter__(self) -> None:
        _mode.before.append(self._outside)
        _mode.recording = self.mode

    def __call__(self, function: Function) -> Function:
        _mode.recording = self._outside  # it was made for the function alone
        return (enable_grad() if self.mode else no_grad())(function)


class _Switch(_Recording):
    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """Without brackets, as in `@no_grad`, it is given the function."""
        return super().__new__(cls) if function is None else super().__new__(cls)(function)


class no_grad(_Switch):
    """Operations in `with no_grad():`, or in a function decorated @no_grad(), aren't recorded."""

    mode = False


class enable_grad(_Switch):
    """Operations inside are recorded, even within `no_grad`."""

    mode = True
