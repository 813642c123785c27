"""Files that a run reads back, damaged or edited: refused in one line, or the same as undamaged."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.serialization import pack
from minicnn.utils.data import TensorDataset
from nin import checkpoint, config
from nin.checkpoint import CheckpointError, Checkpoints, load, save
from nin.executors import executor_for
from nin.fit import Callback, Training
from nin.health import Monitor
from nin.presets import PRESETS, Preset
from nin.progress import Progress
from nin.run import MODEL, Run, RunError, read_metrics
from nin.saving import Saver
from nin.schema import Misfit
from nin.trained import network
from nin.watch import Watch

from .noise import ENVIRONMENT

pytestmark = pytest.mark.cpu
PRESET = Preset(
    dataset="silhouettes",
    epochs=3,
    batch_size=8,
    lr=0.05,
    momentum=0.9,
    lr_scheduler="OneCycleLR",
    max_norm=1.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with Run.create(tmp_path_factory.mktemp("damage") / "run", PRESET, ENVIRONMENT) as run:
        yield run


def begin(run, preset=PRESET, images=40):
    """A small network with dropout on noise, at step 0."""
    minicnn.manual_seed(preset.seed)
    x, y = minicnn.rand(images, 1, 6, 6), minicnn.randint(0, 10, (images,))
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 10)
    )
    test = TensorDataset(x[:16], y[:16])
    executor = executor_for(model, preset, threads=1)
    training = Training(model, preset, TensorDataset(x, y), test, executor)
    progress, monitor = Progress(True, 0), Monitor(training)
    training.callbacks.append(Watch(run, monitor, progress, patient=True))
    return Saver(run, training, monitor, progress, 1e9)


class Stop(Exception):
    pass


class InTheThirdEpoch(Callback):
    def on_batch(self, training):
        if (training.epoch, training.batch) == (3, 3):
            raise Stop


@pytest.fixture(scope="module")
def state(run):
    """Of two epochs and three steps, with a finding."""
    saver = begin(run)
    saver.training.callbacks.append(InTheThirdEpoch())
    run.events.append({"kind": "plateau", "step": 7, "text": "Step 7: a plateau."})
    with pytest.raises(Stop):
        saver.training.fit()
    arrays, rest = saver.state()
    return {k: minicnn.tensor(v.numpy().copy()) for k, v in arrays.items()}, copy.deepcopy(rest)


def content(state):
    """A state as text, which tells NaN from NaN as no comparison does."""
    arrays, rest = state
    return json.dumps(rest, sort_keys=True), {k: v.numpy().tobytes() for k, v in arrays.items()}


@pytest.fixture
def resume(run, tmp_path):
    """What becomes of a file's content when a run goes on from it: the state, or the refusal."""
    saver, path = begin(run), tmp_path / "checkpoint-0001.safetensors"

    def call(file):
        nonlocal saver
        path.write_bytes(file)
        try:
            saver.load(load(path))
        except (CheckpointError, Misfit) as error:
            return one_line(error)
        found, saver = saver.state(), begin(run)
        return found

    return call


def one_line(error):
    text = str(error)
    assert "\n" not in text
    return text


def file_of(state):
    arrays, rest = state
    texts = {"format": checkpoint.FORMAT, "state": json.dumps(rest)}
    return pack(arrays, texts)


def test_an_undamaged_checkpoint_is_what_was_saved(resume, state):
    assert content(resume(file_of(state))) == content(state)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(resume, state):
    file, draw, outcomes = file_of(state), random.Random(0), Counter()
    header = 8 + int.from_bytes(file[:8], "little")
    for i in range(1500):
        damaged = bytearray(file)
        place = draw.randrange(8 * (header if i % 2 else len(file)))
        damaged[place // 8] ^= 1 << place % 8
        found = resume(bytes(damaged))
        outcomes[type(found)] += 1
        assert isinstance(found, str) or content(found) == content(state)
    assert outcomes[str] > 1400  # blanks at the header's end mean nothing


def test_a_file_cut_short_or_prolonged_anywhere_is_refused(resume, state):
    file, draw = file_of(state), random.Random(0)
    for _ in range(200):
        assert isinstance(resume(file[: draw.randrange(len(file))]), str)
    assert isinstance(resume(file + b"\0"), str)


def paths(value, path=()):
    """Where there is a value in JSON, containers too."""
    yield path
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(child, (*path, key))


VALUES = [
    *(None, True, False, -1, 0, 10**11, 10**400, -0.5, 1e300, math.nan, -math.inf),
    *("", "x", "1", [], [1], {}, {"x": 1}, [[[[[]]]]]),
]
# What was measured, so that another possible value can't be told from it.
MEASURED = re.compile(
    r"total|seconds|plateau_since|random/1|history/\d+/(train_loss|eval_loss|accuracy)"
    r"|monitor/(total|plateau_since|told(/\d+)?)|events(/\d+(/(text|step))?)?"
    r"|monitor/looks/\d+/(loss|dead/.+|.*_norm/.+|dead_logits|equal_predictions|not_finite)"
)


def changed(rest, path, value):
    rest = copy.deepcopy(rest)
    *before, last = path
    place = rest
    for key in before:
        place = place[key]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return rest


def test_a_field_changed_with_its_checksum_is_refused_by_name(resume, state):
    arrays, rest = state
    outcomes = Counter()
    for path in paths(rest):
        where = "/".join(map(str, path))
        for value in [KeyError, *VALUES] if path else []:
            altered = changed(rest, path, value)
            if json.dumps(altered) == json.dumps(rest):
                continue
            found = resume(file_of((arrays, altered)))
            outcomes[type(found)] += 1
            if not isinstance(found, str):
                assert MEASURED.fullmatch(where), (where, value)
            elif value is not KeyError:
                assert re.search(rf"\b{re.escape(str(path[-1]))}\b|\b{path[0]}\b", found), found
    assert outcomes[str] > 1900, outcomes
    assert outcomes[tuple] < 60, outcomes


def test_fields_that_do_not_belong_there_are_refused(resume, state):
    arrays, rest = state
    for path in paths(rest):
        found = changed(rest, (*path, "x"), 1) if isinstance(at(rest, path), dict) else None
        if found is not None:
            assert "'x' does not belong there" in resume(file_of((arrays, found)))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {k: v for k, v in a.items() if k != "model.0.bias"}, "model.0.bias is missing"),
        (lambda a: {**a, "model.9.weight": minicnn.zeros(1)}, "'model.9.weight' does not belong"),
        (lambda a: {**a, "model.0.bias": minicnn.zeros(5)}, "model.0.bias must be"),
        (lambda a: {**a, "model.0.bias": a["model.0.bias"].double()}, "model.0.bias must be"),
        (lambda a: {**a, "momentum_buffer.0": minicnn.zeros(1)}, "momentum_buffer.0 must be"),
        (
            lambda a: {k: v for k, v in a.items() if k != "momentum_buffer.2"},
            "momentum_buffer.2 is missing",
        ),
        (lambda a: {**a, "total": minicnn.tensor(1.0)}, "'total' does not belong there"),
    ],
)
def test_arrays_of_another_training_are_refused_by_name(resume, state, change, message):
    arrays, rest = state
    assert message in resume(file_of((change(arrays), rest)))


def test_a_checkpoint_of_other_settings_data_or_setup_is_refused_by_name(run, state, tmp_path):
    save(tmp_path / "x", state)
    for preset, images, message in (
        (Preset(**{**vars(PRESET), "lr": 0.1}), 40, "settings.lr must be 0.1 as in config.toml"),
        (Preset(**{**vars(PRESET), "epochs": 2}), 40, "settings.epochs must be 2"),
        (PRESET, 48, "training_images must be 48, as many as there are, got 40"),
    ):
        with pytest.raises(Misfit, match=re.escape(message)):
            begin(run, preset, images).load(load(tmp_path / "x"))
    run.environment["threads"] = 3
    with pytest.raises(Misfit, match=r"environment\.threads must be 3 as in environment\.json"):
        begin(run).load(load(tmp_path / "x"))
    run.environment["threads"] = 2


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, "{}", "[1]", '"x"', "", "{'x': 1}"])
def test_a_state_that_is_no_object_of_json_is_refused(resume, state, text):
    texts = {"format": checkpoint.FORMAT, "state": text}
    assert isinstance(resume(pack(state[0], texts)), str)


def test_a_checkpoint_of_another_version_is_refused_by_name(resume, state):
    texts = {"format": "nin.checkpoint 1", "state": json.dumps(state[1])}
    assert "of another version of nin.train" in resume(pack(state[0], texts))


# --- which checkpoint ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:-1] + b"x", lambda b: b""])
def test_a_broken_checkpoint_goes_first_and_the_good_one_stays(tmp_path, damage):
    before = Checkpoints(tmp_path)
    for i in range(2):
        before.write(({"x": minicnn.zeros(3)}, {"i": i}))
    newest = before.files()[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    kept = Checkpoints(tmp_path)
    with pytest.warns(UserWarning, match="going on from checkpoint-0001"):
        assert kept.newest()[1] == {"i": 0}
    kept.write(({}, {"i": 2}))
    assert [p.name[:15] for p in kept.files()] == ["checkpoint-0001", "checkpoint-0003"]
    assert Checkpoints(tmp_path).newest()[1] == {"i": 2}


# --- a run's other files -------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path):
    """A run of quick's with two epochs in its table, and its model."""
    preset = Preset(**{**vars(PRESETS["quick"]), "dataset": "silhouettes", "mean": 0.3, "std": 0.4})
    model = preset.build()
    row = {"train_loss": 1.5, "eval_loss": 1.25, "accuracy": 0.5, "lr": 0.1, "seconds": 2.0}
    rows = [{"epoch": i, **row, "images_per_second": 9.0, "dead:0.1": 0.5} for i in (1, 2)]
    with Run.create(tmp_path / "run", preset, ENVIRONMENT) as run:
        run.write_metrics(rows, [])
        run.write_model(model)
    return run.directory


def refusal(function, *arguments):
    """In one line why a run is refused, None if it isn't."""
    try:
        result = function(*arguments)
    except RunError as error:
        return one_line(error)
    if isinstance(result, Run):
        result.close()
    return None


def opened(directory):
    """A run that goes on before its first checkpoint, without what an epoch leaves."""
    (directory / MODEL).unlink(missing_ok=True)
    (directory / "metrics.csv").unlink(missing_ok=True)
    return Run.open(directory)


def test_a_config_that_lacks_a_line_is_refused_by_name(finished):
    path = finished / "config.toml"
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        path.write_text("\n".join(lines[:i] + lines[i + 1 :]))
        assert refusal(network, finished).startswith(f"{path}: {line.split()[0]} is missing; ")


def test_a_config_with_another_value_is_refused_or_has_another_seed(finished):
    path, draw = finished / "config.toml", random.Random(0)
    text, preset = path.read_text(), network(finished)[1]
    for _ in range(400):
        damaged = bytearray(text.encode())
        place = draw.randrange(8 * len(damaged))
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        said = refusal(network, finished)
        if said is None:
            found = vars(config.read_whole(path))
            assert {**found, "seed": 0} == {**vars(preset), "seed": 0}
        else:
            assert "config.toml" in said


WRONG = {  # values in TOML that a setting of a type can't have
    str: ["1", "true", "[]", "1979-05-27", '"\\u0000"', "{ a = 1 }"],
    int: ['"1"', "true", "1.5", "nan", "-5", "1e99", "9" * 30, "[1]"],
    float: ['"0.1"', "true", "nan", "inf", "-inf", "-1e30", "[0.1, 0.2]", "07:32:00"],
    bool: ["1", '"yes"', "0.0", "[]"],
    tuple: ['"x"', "true", "nan", "[[1]]", '["a"]', "{}"],
}


@pytest.mark.parametrize("name", [each.name for each in fields(Preset) if each.name != "blocks"])
def test_a_setting_that_was_edited_to_what_it_can_not_be_is_named(finished, name):
    path = finished / "config.toml"
    text, kind = path.read_text(), type(getattr(PRESETS["quick"], name))
    for value in WRONG[kind]:
        path.write_text(
            re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}".replace("\\", "\\\\"), text)
        )
        said = refusal(network, finished)
        assert said is not None, value
        assert said.startswith(f"{path}: {name} must be ") or "is not TOML" in said, said
        assert len(said) < len(str(path)) + 400
    for other in (name[:-1] + "_", f"{name}s", name.upper()):
        path.write_text(f"{other} = 1\n{text}")
        said = refusal(network, finished)
        assert f"{path}: there is no setting '{other}'; did you mean {name}?" in said


def test_an_environment_that_can_not_be_is_refused_by_field(finished):
    path = finished / "environment.json"
    for name, value in ENVIRONMENT.items():
        for other in [KeyError, *VALUES]:
            altered = changed(ENVIRONMENT, (name,), other)
            if type(other) is type(value) is not int and name not in ("backend", "conv"):
                continue  # another value that it could have
            path.write_text(json.dumps(altered))
            said = refusal(opened, finished)
            assert said is not None and f"environment.json: {name}" in said, (name, other)


@pytest.mark.parametrize("text", ["", "[" * 10_000, "{", "[]", "null", "9" * 70_000, "\0", "NaN"])
def test_an_environment_that_is_no_object_is_refused(finished, text):
    (finished / "environment.json").write_text(text)
    assert "environment.json" in refusal(opened, finished)


def test_a_table_that_can_not_be_is_refused_by_row_and_column(finished):
    path = finished / "metrics.csv"
    header, *lines = (line.split(",") for line in path.read_text().splitlines())
    for i, name in enumerate(header):
        for cell in ("", "x", "-1", "1e400", "nan", "2,3", '"', "\0", "9" * 200_000):
            altered = [*lines[0][:i], cell, *lines[0][i + 1 :]]
            path.write_text("\n".join(",".join(row) for row in (header, altered, lines[1])))
            said = refusal(read_metrics, finished)
            if cell in ("nan", "1e400") and ("loss" in name or ":" in name):
                assert said is None  # a training that diverged
            else:
                assert said is not None and "metrics.csv" in said, (name, cell)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:1],
        lambda rows: [],
        lambda rows: [rows[0], rows[2], rows[1]],
        lambda rows: [rows[0], rows[1], rows[1]],
        lambda rows: [rows[0].replace("accuracy", "epoch"), *rows[1:]],
        lambda rows: [rows[0].replace("accuracy", "x"), *rows[1:]],
        lambda rows: [rows[0], rows[1].rpartition(",")[0], rows[2]],
    ],
)
def test_a_table_of_other_rows_or_columns_is_refused(finished, change):
    path = finished / "metrics.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    assert "metrics.csv" in refusal(read_metrics, finished)


def test_results_without_a_checkpoint_are_not_trained_over(finished):
    assert "but no checkpoint to go on from" in refusal(Run.open, finished)


def test_a_flipped_bit_in_a_model_is_refused_or_changes_nothing(finished):
    path, draw = finished / MODEL, random.Random(0)
    file, weights = path.read_bytes(), network(finished)[0].state_dict()
    for i in range(60):
        damaged = bytearray(file)
        place = draw.randrange(8 * (900 if i % 2 else len(file)))
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        if refusal(network, finished) is None:
            for name, value in network(finished)[0].state_dict().items():
                np.testing.assert_array_equal(value.numpy(), weights[name].numpy())
