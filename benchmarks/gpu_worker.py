"""One library on the GPU, in a process of its own: takes steps, or predictions, when it is told to.

`benchmarks.gpu` starts one of these for each library and talks to it in lines of JSON: a setting
comes in, and is made ready and warmed up; "turn" comes in, and the milliseconds that one step took,
over many, go out. So the libraries take turns on one device, and neither shares a process with the
other. The time is the device's own, between two events on its stream.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .network import draw, network

WARM_UP = 5  # calls, during which kernels are compiled and chosen, and graphs captured
TURN_MS, MOST_CALLS = 400, 500  # how long a turn lasts
OPTIONS = {  # the presets', for the library that can't ask them; the last entry clips gradients
    "article": ({"lr": 0.1}, 0.0),
    "d2l": ({"lr": 0.05}, 0.0),
    "quick": ({"lr": 0.4, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}, 1.0),
}


class Setting(NamedTuple):
    """What is timed."""

    preset: str
    what: str  # "train" or "predict"
    batch: int
    tf32: bool = False
    conv: str = "auto"  # minicnn's algorithm


class MiniCNN:
    """The step of `nin.train` on a GPU, captured as a graph."""

    def __init__(self, device: str) -> None:
        import minicnn

        self.device = minicnn.device(device)
        self.cupy = self.device.backend.xp

    def ready(self, setting: Setting) -> Callable[[], Any]:
        """The call to be timed; it returns a loss, or outputs, without waiting for them."""
        import minicnn
        from minicnn.capture import Captured
        from minicnn.utils.data import TensorDataset
        from nin.fit import Training
        from nin.presets import PRESETS

        minicnn.context.set_default(conv_algorithm=setting.conv, tf32=setting.tf32)
        minicnn.manual_seed(0)
        x, y = (minicnn.tensor(a).to(self.device) for a in draw(setting.preset, setting.batch))
        preset, data = PRESETS[setting.preset], TensorDataset(x, y)
        model = preset.build().to(self.device)
        training = Training(model, preset, data, data)
        if setting.what == "predict":
            model.eval()
            return lambda: training.executor.predict(x)
        model.train()
        step = Captured(training.step, model, training.optimizer)
        return lambda: step(x, y)

    def milliseconds(self, call: Callable[[], Any], times: int) -> float:
        """Of one call, on the device."""
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        start.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, end)) / times


class PyTorch:
    """PyTorch's eager mode: channels-last, and cuDNN's fastest algorithms (`cudnn.benchmark`)."""

    def __init__(self, device: str) -> None:
        import torch

        self.torch, self.device = torch, device
        torch.backends.cudnn.benchmark = True

    def ready(self, setting: Setting) -> Callable[[], Any]:
        torch = self.torch
        precision = "tf32" if setting.tf32 else "ieee"
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.conv.fp32_precision = precision
        torch.manual_seed(0)
        layout = torch.channels_last
        model: Any = network(setting.preset, torch.nn).to(self.device).to(memory_format=layout)
        x, y = (torch.from_numpy(a).to(self.device) for a in draw(setting.preset, setting.batch))
        x = x.contiguous(memory_format=layout)
        options, max_norm = OPTIONS[setting.preset]
        optimizer = torch.optim.SGD(model.parameters(), **options)
        criterion = torch.nn.CrossEntropyLoss()

        def train() -> Any:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            if max_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            return loss.detach()

        def predict() -> Any:
            with torch.no_grad():
                return model(x)

        if setting.what == "predict":
            model.eval()
            return predict
        return train

    def milliseconds(self, call: Callable[[], Any], times: int) -> float:
        if self.device == "cpu":  # to try the benchmark out
            begin = time.perf_counter()
            for _ in range(times):
                call()
            return 1e3 * (time.perf_counter() - begin) / times
        event: Callable[..., Any] = self.torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / times


Library = MiniCNN | PyTorch
LIBRARIES: dict[str, Callable[[str], Library]] = {"minicnn": MiniCNN, "torch": PyTorch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    library = LIBRARIES[args.library](args.device)
    call: Callable[[], Any] | None = None
    calls = 1
    answer: dict[str, Any] = {"ready": True}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        if line.strip() == "turn":
            assert call is not None
            answer = {"ms": library.milliseconds(call, calls), "calls": calls}
        else:
            call = None  # and with it the memory of the setting before
            call = library.ready(Setting(**json.loads(line)))
            for _ in range(WARM_UP):
                result = call()
            value = float(result.mean().item())
            once = library.milliseconds(call, 2)
            calls = max(2, min(MOST_CALLS, round(TURN_MS / once)))
            # A number that went wrong would make a fast step worthless.
            answer = {"value": value} if math.isfinite(value) else {"error": f"gave {value}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
