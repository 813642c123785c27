"""All of a training that changes from step to step: taken, checked, and gone on from.

What follows from the settings and the step, such as the learning rate, is computed and not
believed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from minicnn import Tensor
from minicnn.random import default_generator

from .checkpoint import State
from .fit import Lengths, Training
from .length import learning_rates, restore_rate
from .schema import MANY, Misfit, exactly, items, number, record, whole

LOSS = number(0, 1e40, finite=False)  # no float32 is larger, and a training may diverge
FIGURES = {  # of a row, beside the epoch's number
    "train_loss": LOSS,
    "eval_loss": LOSS,
    "accuracy": number(0, 1),
    "lr": number(0),
    "seconds": number(0),
    "images_per_second": number(0),
}


def take(training: Training) -> State:
    """What changes, and what it is of: the settings, and how many images there are."""
    arrays = {f"model.{name}": value for name, value in training.model.state_dict().items()}
    for i, each in training.optimizer.state_dict()["state"].items():
        arrays[f"momentum_buffer.{i}"] = each["momentum_buffer"]
    return arrays, {
        "settings": _settings(training),
        "training_images": len(training.train_loader.dataset),
        "eval_images": len(training.eval_loader.dataset),
        "epoch": training.epoch,
        "batch": training.batch,
        "total": training.total_loss(),
        "seconds": training.seconds,
        "lengths": [{"steps": n, "epochs": epochs} for n, epochs in training.lengths],
        "history": training.history,
        "random": list(default_generator.get_state()),
    }


def check(training: Training, state: State) -> None:
    """Raise Misfit, which names the field, if this is not `take()` of such a training."""
    arrays, rest = state
    _check_fields(training, rest)
    _check_arrays(training, arrays, rest)
    _check_progress(training, rest)


def restore(training: Training, state: State) -> None:
    """Go on from a state that `check` has found to be one of such a training."""
    arrays, rest = state
    training.model.load_state_dict(_under("model.", arrays))
    buffers = _under("momentum_buffer.", arrays).items()
    momenta = {int(i): {"momentum_buffer": v} for i, v in buffers}
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": momenta, "param_groups": groups})
    training.epoch, training.batch = rest["epoch"], rest["batch"]
    training.seen = min(
        training.batch * training.preset.batch_size, len(training.train_loader.dataset)
    )
    training.total.fill_(rest["total"])
    training.seconds, training.history = rest["seconds"], list(rest["history"])
    training.lengths = _lengths(rest)
    restore_rate(training)
    default_generator.set_state(tuple(rest["random"]))


def _settings(training: Training) -> dict[str, Any]:
    """The preset as JSON has it."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(training.preset)))
    return settings


def _check_fields(training: Training, rest: Any) -> None:
    """Each field by itself."""
    epochs = training.preset.epochs
    as_many = ", as many as there are"
    settings = {k: exactly(v, " as in config.toml") for k, v in _settings(training).items()}
    fields = {
        "settings": record(settings),
        "training_images": exactly(len(training.train_loader.dataset), as_many),
        "eval_images": exactly(len(training.eval_loader.dataset), as_many),
        "epoch": whole(1, epochs + 1),
        "batch": whole(0, len(training.train_loader)),
        "total": LOSS,
        "seconds": number(0),
        "lengths": items(record({"steps": whole(0, MANY), "epochs": whole(1)})),
        "history": items(record({"epoch": whole(1, epochs), **FIGURES}), most=epochs),
        "random": items(whole(0, 2**64 - 1), 2, 2),
    }
    record(fields)(rest, "state")


def _check_progress(training: Training, rest: dict[str, Any]) -> None:
    """That the epoch, the history, the rates and the random numbers are of one step."""
    batches, n = len(training.train_loader), len(training.train_loader.dataset)
    epoch, batch = rest["epoch"], rest["batch"]
    steps = (epoch - 1) * batches + batch
    if epoch > training.preset.epochs:
        exactly(0, ", as all epochs are done")(batch, "state.batch")
    if batch == 0:
        for name in ("total", "seconds"):
            exactly(0.0, " where no batch is done")(rest[name], f"state.{name}")
    history = rest["history"]
    exactly(epoch - 1, ", one for each epoch done")(len(history), "rows of state.history")
    done = 0
    for i, each in enumerate(rest["lengths"]):
        whole(done + 1, min(steps, each["epochs"] * batches))(
            each["steps"], f"state.lengths[{i}].steps"
        )
        done = each["steps"]
    rates = learning_rates(training, _lengths(rest), (epoch - 1) * batches)
    for i, row in enumerate(history):
        speed = n / row["seconds"] if row["seconds"] else 0.0
        expected = {
            "epoch": exactly(i + 1),
            "lr": exactly(rates[(i + 1) * batches - 1], " by the schedule"),
            "images_per_second": exactly(speed, " by the seconds"),
        }
        for name, each in expected.items():
            each(row[name], f"state.history[{i}].{name}")
    (seed, drawn), (own_seed, before) = rest["random"], training.random_at_start
    exactly(own_seed, " as the seed says")(seed, "state.random[0]")
    each_step = (drawn - before) / max(1, steps)  # as every step draws as often
    possible = each_step.is_integer() and 0 <= each_step <= 1000
    if not possible or (steps == 0 and drawn != before):
        raise Misfit(f"state.random[1] can't be {drawn} after {steps:,} steps")


def _check_arrays(training: Training, arrays: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """That these are the weights and momenta of such a model."""
    expected = {f"model.{name}": p for name, p in training.model.state_dict().items()}
    momenta = {f"momentum_buffer.{i}": p for i, p in enumerate(training.trained)}
    begun = rest["epoch"] > 1 or rest["batch"]
    if training.preset.momentum and begun and any(name in arrays for name in momenta):
        expected |= momenta  # there are none before the first step that is taken
    for name in [*expected, *arrays]:
        if name not in arrays:
            raise Misfit(f"array {name} is missing")
        if name not in expected:
            raise Misfit(f"array {name!r} does not belong there")
        found, wanted = ((t.dtype, tuple(t.shape)) for t in (arrays[name], expected[name]))
        if found != wanted:
            raise Misfit(f"array {name} must be {wanted}, got {found}")


def _lengths(rest: dict[str, Any]) -> Lengths:
    return [(each["steps"], each["epochs"]) for each in rest["lengths"]]


def _under(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
