"""A name that is none is answered with the nearest that there is, wherever it was typed."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import spelling
from minicnn.gradcheck import __main__ as gradcheck
from nin import __main__ as nin
from nin.catalogue import DATASETS
from nin.networks import NETWORKS
from nin.presets import PRESETS
from nin.study.__main__ import STUDIES

pytestmark = pytest.mark.cpu
NAMES = [*PRESETS, *DATASETS, *STUDIES, *nin.COMMANDS, *gradcheck.NAMES]


@given(st.sampled_from([name for name in NAMES if len(name) > 3]), st.data())
def test_two_letters_exchanged_are_a_name_that_was_meant(name, data):
    i = data.draw(st.integers(0, len(name) - 2))
    typed = name[:i] + name[i + 1] + name[i] + name[i + 2 :]
    assert spelling.hint(typed, [name, "0", "~"]) == f"did you mean {name}?"


@pytest.mark.parametrize("typed", ["", "-", "qqqqqqq", "\x1b[2J", "x" * 10**6])
def test_nothing_near_is_no_hint(typed):
    assert spelling.hint(typed, NAMES, "see --help") == "see --help"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("nin trian", "train"),
        ("nin Evaluate", "evaluate"),
        ("nin --verison", "--version"),
        ("nin train --eporchs 3", "--epochs"),
        ("nin train --batch_size 3", "--batch-size"),
        ("nin train --limit_train=3", "--limit-train"),
        ("nin train --no-progres", "--no-progress"),
        ("nin train --preset quik", "quick"),
        ("nin train --preset Paper", "paper"),
        ("nin train --network articel", "article"),
        ("nin train --dataset fashion-minst", "fashion-mnist"),
        ("nin train --conv winogard", "winograd"),
        ("nin train --backend cuppy", "cupy"),
        ("nin train --init kaiming", "kaiming_normal"),
        ("nin train --lr-scheduler onecyclelr", "OneCycleLR"),
        ("nin train --on-stuck wran", "warn"),
        ("nin train --distributed nncl", "nccl"),
        ("nin train --config quik.toml", "quick"),
        ("nin train --config schedule.toml", "OneCycleLR"),
        ("nin evaluate r --jsno", "--json"),
        ("nin predict r x --backend numpi", "numpy"),
        ("nin compare r --outt x", "--out"),
        ("nin export r --onx x", "--onnx"),
        ("nin study ablte", "ablate"),
        ("nin study summary qick", "quick"),
        ("nin study heads --sead 1", "--seed"),
        ("gradcheck sofmax", "softmax"),
        ("gradcheck --bakend numpy", "--backend"),
    ],
)
def test_what_was_meant_is_named_in_the_one_line(tmp_path, monkeypatch, capsys, line, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quik.toml").write_text('preset = "quik"')
    (tmp_path / "schedule.toml").write_text('lr_scheduler = "OneCyleLR"')
    program, *flags = shlex.split(line)
    try:
        status = {"nin": nin, "gradcheck": gradcheck}[program].main(flags)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"did you mean {meant}?" in err
    assert len(err) < 400


def test_a_network_is_one_of_those_that_there_are():
    assert spelling.hint("Quick", NETWORKS) == "did you mean quick?"
