"""Settings of all kinds, together: a training takes its steps, or one line says what can't be."""

from __future__ import annotations

import math
import random
import re
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest

from minicnn.arguments import ArgumentError
from nin import networks, train
from nin.presets import PRESETS, Preset

from . import noise

pytestmark = pytest.mark.cpu
SETTINGS = {each.name: each for each in fields(Preset) if "check" in each.metadata}
EDGES = {
    "int": [
        "0",
        "1",
        "2",
        "-1",
        "1000000000",
        "1000000001",
        "1" + 400 * "0",
        "1.5",
        "1e3",
        "x",
        "",
    ],
    "float": [
        "0",
        "1",
        "0.5",
        "1e-300",
        "1e-6",
        "1e6",
        "1e30",
        "1e400",
        "-1",
        "nan",
        "inf",
        "x",
        "",
    ],
    "tuple[float, ...]": ["", "0.5", "0.5,0.5", "1,0.1", "0", "1.1", "nan", "x", "0.5,", "1e-300"],
    "tuple[int, ...]": ["", "0", "0,1", "1,1", "-1", "1.5", "x", "0,", "1000", "1" + 400 * "0"],
    "bool": ["True", "1", ""],
}
EDGES["int"] += ["-0", "٣", "1_0", " 1 ", "0x10"]


def values(name):
    setting = SETTINGS[name]
    return EDGES.get(setting.type, [*setting.metadata["check"].choices, "x", ""])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_text_is_a_value_in_the_settings_type_or_refused_in_one_line(name):
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    for text in values(name):
        value, said = parsed(name, text)
        assert (value is None) == bool(re.fullmatch(r"must be .{,150}, got .{,50}", said))
        if value is not None:
            assert type(value) is kinds.get(SETTINGS[name].type, tuple)
            assert type(value) is not float or math.isfinite(value)


def parsed(name, text):
    try:
        return SETTINGS[name].metadata["check"].parse(text), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_of_another_type_is_refused_by_name(name):
    others = [None, [[]], {}, b"x", object(), 1j, math.nan, -math.inf, 10**400, ["x"], [None]]
    for value in others:
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            replace(PRESETS["quick"], **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", np.float32(0.5)),
        ("lr", Fraction(1, 2)),
        ("lr", np.int64(1)),
        ("epochs", np.int32(3)),
        ("milestones", [np.float64(0.5), 1]),
    ],
)
def test_other_kinds_of_numbers_become_pythons(name, value):
    own = getattr(replace(PRESETS["quick"], **{name: value}), name)
    assert type(own) in (int, float, tuple)
    assert np.array_equal(own, np.asarray(value, dtype=float))


@pytest.fixture
def small(monkeypatch):
    """All networks but for their width, on noise, so that it is the settings that are tried."""
    noise.install(monkeypatch.setattr)
    monkeypatch.setattr(networks, "nin_block", noise.narrow(networks.nin_block))


# What a person may get wrong together, or take to an edge; texts as on a command line.
FLAGS = {
    "--network": ["article", "d2l", "paper", "quick"],
    "--freeze": ["", "0", "0,2", "2,0", "3", "0,1,2,3", "0,0", "x"],
    "--init-from": ["", "nosuch", "."],
    "--init": ["default", "xavier_uniform", "kaiming_normal", "kaiming_centred"],
    "--last-bias": ["0", "-3", "4", "1e6"],
    "--limit-train": ["1", "2", "5", "1000000000"],
    "--limit-test": ["1", "3"],
    "--validation": ["0", "1", "4", "1000000000"],
    "--image-size": ["1", "2", "3", "5", "27", "28", "29", "62", "63", "64", "513", "0"],
    "--mean": ["0.3", "-1e6"],
    "--std": ["0.3", "1e-6", "0"],
    "--shift": ["0", "1", "27", "28"],
    "--batch-size": ["1", "2", "3", "1000000000", "0"],
    "--epochs": ["1", "2", str(10**30)],
    "--seed": ["0", str(2**63 - 1), str(2**64)],
    "--lr": ["0.1", "1e-300", "1e6", "nan", "inf"],
    "--momentum": ["0", "0.9", "1", "1.1"],
    "--weight-decay": ["0", "1e6"],
    "--max-norm": ["0", "1e-30", "1e6"],
    "--lr-scheduler": ["constant", "OneCycleLR", "MultiStepLR"],
    "--pct-start": ["0", "1e-300", "0.5", "0.999", "1"],
    "--milestones": ["", "0.5", "0.5,0.5,1", "2"],
    "--gamma": ["1e-300", "1", "0"],
    "--micro-batch": ["1", "2", "1000000000", "0"],
    "--threads": ["1", "2", "100000"],
    "--checkpoint-minutes": ["1e-9", "1e300", "nan"],
    "--log-interval": ["0", "1", "1000000000"],
    "--warmup": ["0", "0", "0.5", "1.5"],
}
SWITCHES = [
    "--reset-head",
    "--flip",
    "--no-flip",
    "--nesterov",
    "--no-nesterov",
    "--dry-run",
    "--tf32",
]


def drawn(draw):
    flags = ["--preset", draw.choice(list(PRESETS)), "--no-progress"]
    if draw.random() < 0.8:  # or few combinations would be small enough for hours not to pass
        flags += ["--epochs", "1"]
    for flag, texts in FLAGS.items():
        if draw.random() < 0.2:
            flags += [flag, draw.choice(texts)]
    return flags + [s for s in SWITCHES if draw.random() < 0.1]


@pytest.mark.usefixtures("small")
def test_any_settings_train_or_are_refused_in_one_line(capsys, tmp_path):
    draw, trained = random.Random(0), 0
    for i in range(80):
        flags, out = drawn(draw), tmp_path / str(i)
        try:
            status = train.main([*flags, "--out", str(out)])
        except SystemExit as stop:
            status = stop.code
        err = capsys.readouterr().err
        assert status in (0, 2), (flags, err)
        assert "Traceback" not in err
        if status == 2:
            assert err.count("\n") == 1, (flags, err)
            assert not out.exists()
        trained += status == 0
        if out.exists():  # and whatever has become of the network, the run can be read back
            status = train.main(["--resume", str(out)])
            assert status == 0, (flags, capsys.readouterr().err)
            capsys.readouterr()
    assert trained > 10


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [1, 5, 28, 64])
@pytest.mark.parametrize("preset", PRESETS)
def test_images_that_a_network_can_not_take_are_refused_before_a_directory_is_made(
    capsys, tmp_path, preset, size
):
    flags = ["--preset", preset, "--image-size", str(size), "--limit-train", "2"]
    flags += ["--limit-test", "1", "--epochs", "1", "--out", str(tmp_path / "run")]
    status = train.main(flags)
    err = capsys.readouterr().err
    assert status == (0 if (tmp_path / "run").exists() else 2), err
    assert status == 0 or (err.count("\n") == 1 and f"{size}×{size}" in err)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("fraction", ["0", "1e-300", "0.3", "0.999", "1"])
def test_a_cycle_of_any_rise_goes_to_its_end_and_can_be_resumed(capsys, tmp_path, fraction):
    flags = ["--limit-train", "5", "--limit-test", "1", "--batch-size", "2", "--epochs", "2"]
    flags += ["--pct-start", fraction, "--out", str(tmp_path / "run")]
    assert train.main(flags) == 0
    assert train.main(["--resume", str(tmp_path / "run")]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("flag", ["--out", "--config", "--resume", "--data-dir"])
def test_an_empty_path_is_refused(capsys, flag):
    with pytest.raises(SystemExit) as stop:
        train.main([flag, ""])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
