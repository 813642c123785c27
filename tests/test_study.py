"""`python -m nin.study`: each study as a person runs it, and what its numbers must agree with."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.nn import functional as F
from nin import networks
from nin import train as nin_train
from nin.data import kind_of
from nin.presets import PRESETS
from nin.run import newest
from nin.study import (
    ablate,
    architecture,
    chance,
    classmaps,
    filters,
    graph,
    heads,
    im2col,
    onebyone,
    summary,
    tape,
    trial,
)
from nin.study.__main__ import STUDIES, main
from nin.study.report import Report

from .arrays import named

SMALL = ["--limit-train", "96", "--limit-test", "64"]
ROUND = 1e-6
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def on(backend_name):
    """The flags for the backend under test."""
    return ["--backend", backend_name]


@pytest.fixture(scope="module")
def run(tmp_path_factory, on):
    """A little training of `quick` on the real data."""
    out = tmp_path_factory.mktemp("run") / "quick"
    flags = ["--limit-train", "512", "--limit-test", "64", "--epochs", "1", "--no-progress"]
    assert nin_train.main([*flags, *on, "--out", str(out)]) == 0
    return out


def study(capsys, tmp_path, *flags):
    """Exit status, stdout, stderr and the numbers of a study run in this process."""
    out = tmp_path / "study"
    try:
        status = main([*flags, "--out", str(out)])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    written = out / f"{flags[0]}.json"
    numbers = json.loads(written.read_text()) if written.exists() else None
    return status, captured.out, captured.err, numbers


def widest(out, without=""):
    """The length of the longest line, `without` a path that a person's would be shorter than."""
    return max(map(len, out.replace(str(without), "").splitlines()))


# --- the command ---------------------------------------------------------------------------------


def test_without_a_study_all_are_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in STUDIES)
    assert widest(out) <= 80


def test_an_unknown_study_is_one_line_and_status_2(capsys):
    assert main(["nosuch"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", STUDIES)
def test_help_has_examples_and_fits_80_columns(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"python -m nin.study {name}" in out.partition("examples:")[2]
    assert widest(out) <= 80


@pytest.mark.parametrize(
    "flags",
    [
        ["heads", "--no-such-flag"],
        ["heads", "--seed", "-1"],
        ["im2col", "--kernel", "0"],
        ["im2col", "--kernel", "9"],
        ["im2col", "--size", "13"],
        ["summary", "resnet"],
        ["graph", "quick", "--batch-size", "0"],
        ["ablate", "--limit-train", "none"],
        ["ablate", "--dataset", "cifar"],
        ["compare", "--seconds", "0"],
        ["compare", "--image-size", "32"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_line_status_2_and_leaves_nothing(capsys, tmp_path, flags):
    status, out, err, _ = study(capsys, tmp_path, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "study").exists()


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["filters", "classmaps", "explore"])
def test_a_run_that_is_not_there_is_one_line_status_1_and_leaves_nothing(capsys, tmp_path, name):
    status, out, err, _ = study(capsys, tmp_path, name, "no/such/run")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert not (tmp_path / "study").exists()


@pytest.mark.cpu
def test_without_a_run_it_is_the_newest_whose_model_is_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err, _ = study(capsys, tmp_path, "filters")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "nin.train makes one" in err
    for age, name in enumerate(["b", "c", "a"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        model = tmp_path / "runs" / name / "model.safetensors"
        model.touch()
        os.utime(model, ns=(0, age))
    (tmp_path / "runs" / "summary").mkdir()
    assert newest() == Path("runs/a")


@pytest.mark.parametrize("name", PRESETS)
def test_the_networks_that_the_pages_show_are_drawn_as_they_are(capsys, tmp_path, name):
    status, out, _, numbers = study(capsys, tmp_path, "architecture", name)
    assert status == 0
    assert widest(out, tmp_path) <= 80
    model = PRESETS[name].build(kind_of(PRESETS[name]))
    assert numbers["parameters"] == sum(block["parameters"] for block in numbers["blocks"])
    assert numbers["parameters"] == sum(p.numel() for p in model.parameters())
    drawn = (tmp_path / "study" / "architecture.svg").read_text()
    assert drawn == (DOCS / "figures" / f"architecture-{name}.svg").read_text()


def test_the_graph_that_the_pages_show_is_as_it_is_drawn(capsys, tmp_path):
    """But for some bytes, which depend on what was computed before in this process."""
    assert study(capsys, tmp_path, "graph")[0] == 0
    files = tmp_path / "study" / "graph.svg", DOCS / "figures" / "graph.svg"
    drawn, shown = (re.findall(r"<text[^>]*>(?!holds)([^<]+)<", path.read_text()) for path in files)
    assert drawn == shown and len(drawn) > 18


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("architecture", "blocks", {"output": [3, 32, 32]}),
        ("graph", "operations", {"output": [2, 192, 32, 32]}),
        ("summary", "layers", {"output": [192, 32, 32], "parameters": 3 * 5 * 5 * 192 + 192}),
    ],
)
def test_a_network_is_studied_on_images_of_its_preset_s_kind(
    capsys, tmp_path, name, rows, expected
):
    path = tmp_path / "cifar.toml"
    path.write_text('network = "paper"\ndataset = "cifar-10"\nmicro_batch = 1\nbatch_size = 2\n')
    flags = {"graph": ["--batch-size", "2"], "summary": ["--steps", "1"]}.get(name, [])
    status, _, _, numbers = study(capsys, tmp_path, name, str(path), *flags)
    assert (status, numbers[rows][0] | expected) == (0, numbers[rows][0])


def test_a_drawn_network_is_xml_whatever_it_is_called_and_fits_its_frame():
    blocks = [
        architecture.Block("<a&b>", "dense", (7,), 3),
        architecture.Block("", "other", (5, 1, 900), 0),
    ]
    root = ElementTree.fromstring(architecture.draw("x < y & z", blocks))
    texts = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert {"x < y & z: 3 parameters", "<a&b>", "7, 3 parameters"} <= set(texts)
    ends = [float(each.get("y")) for each in root.iter() if each.get("y")]
    assert max(ends) < float(root.get("height"))


@pytest.mark.cpu
def test_a_study_is_not_written_over(capsys, tmp_path, on):
    assert study(capsys, tmp_path, "heads", *on)[0] == 0
    status, _, err, _ = study(capsys, tmp_path, "heads", *on)
    assert status == 2
    assert "holds heads.json already" in err


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["heads.png", "heads-old.txt", "heads.json"])
def test_what_is_called_like_a_study_is_not_written_over(capsys, tmp_path, name):
    out = tmp_path / "study"
    out.mkdir()
    (out / name).write_text("mine")
    status = main(["heads", "--out", str(out)])
    assert status == 2
    assert f"holds {name} already" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == [name]
    assert (out / name).read_text() == "mine"


@pytest.mark.cpu
@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError, ZeroDivisionError])
def test_a_study_that_fails_removes_a_directory_that_it_made_alone(
    capsys, tmp_path, monkeypatch, mine, error
):
    def run(*_):
        raise error

    monkeypatch.setattr(heads, "run", run)
    if mine:
        (tmp_path / "study").mkdir()
    status, _, _, _ = study(capsys, tmp_path, "heads")
    assert status == (130 if error is KeyboardInterrupt else 1)
    assert (tmp_path / "study").exists() == mine


@pytest.mark.cpu
def test_studies_that_begin_in_one_second_have_a_directory_each(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "20260101-000000")
    monkeypatch.setattr(heads, "run", lambda args, report: report.numbers({}))
    for _ in range(2):
        assert main(["heads"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.cpu
def test_a_figure_that_cannot_be_drawn_is_a_warning_and_the_numbers_are_there(
    capsys, tmp_path, monkeypatch
):
    def draw(*_):
        raise ValueError("no such font")

    monkeypatch.setattr(im2col, "draw_forward", draw)
    with pytest.warns(UserWarning, match=r"im2col-forward\.png can't be drawn: no such font"):
        status, out, _, numbers = study(capsys, tmp_path, "im2col")
    assert status == 0
    assert numbers["y"]
    left = sorted(path.name for path in (tmp_path / "study").iterdir())
    assert left == ["im2col-backward.png", "im2col.json"]
    assert "im2col-forward.png" not in out


@pytest.mark.cpu
def test_figures_that_are_no_numbers_are_null(tmp_path):
    report = Report(tmp_path / "a", "heads", {})
    report.numbers({"loss": math.nan, "losses": [1.0, math.inf, {"x": (-math.inf,)}]})
    text = (tmp_path / "a" / "heads.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["losses"] == [1.0, None, {"x": [None]}]


# --- 1×1 convolutions and im2col -----------------------------------------------------------------


def test_onebyone_doubles_an_image_and_agrees_three_ways(capsys, tmp_path, on):
    status, out, _, numbers = study(capsys, tmp_path, "onebyone", *on)
    assert status == 0
    assert widest(out, tmp_path) <= 80
    first = numbers["examples"][0]
    np.testing.assert_array_equal(first["outputs"], 2 * np.array(first["images"]))
    for example in numbers["examples"]:
        assert set(example["differences"].values()) == {0.0}


def test_by_loop_and_by_linear_can_disagree_with_another_convolution():
    (example, *_) = onebyone.examples("cpu")
    x, w = example.images, example.weights[0]
    assert not (onebyone.by_loop(x, w + 1) == onebyone.by_linear(x, w)).all()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(5, 3, 2, 1), (4, 2, 1, 0), (6, 5, 3, 2), (3, 1, 1, 0)],
)
def test_im2col_steps_are_those_of_conv2d(size, kernel, stride, padding):
    x = minicnn.randn(1, 1, size, size, dtype=minicnn.float64)
    w = minicnn.randn(1, 1, kernel, kernel, dtype=minicnn.float64)
    steps = im2col.unroll(x, w, stride, padding)
    assert steps.difference <= 1e-12
    assert steps.copies.sum() == steps.cols.size


def test_im2col_writes_both_ways(capsys, tmp_path, on):
    assert study(capsys, tmp_path, "im2col", *on)[0] == 0
    for part in ("forward", "backward"):
        picture = (tmp_path / "study" / f"im2col-{part}.png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n")


# --- sizes ---------------------------------------------------------------------------------------


def test_heads_counts_layers_and_misses_none():
    for network in heads.NETWORKS.values():
        model = nn.utils.skip_init(network)
        assert sum(heads.count(model)) == sum(p.numel() for p in model.parameters())


def test_a_summary_fits_80_columns_and_its_totals_are_a_runs(capsys, tmp_path, on):
    status, out, _, numbers = study(capsys, tmp_path, "summary", "quick", "--steps", "1", *on)
    assert status == 0
    assert widest(out, tmp_path) <= 80
    assert numbers["parameters"]["layers"] == numbers["parameters"]["model"] == 221_290
    assert all(layer["forward"] > 0 for layer in numbers["layers"])


@pytest.mark.cpu
@pytest.mark.parametrize(("name", "n"), [("quick", 64), ("d2l", 2)])
def test_what_the_layers_hold_is_what_a_run_allocates(name, n):
    preset = PRESETS[name]
    model = preset.build()
    x = minicnn.randn(n, 1, *preset.input_size())
    y = minicnn.randint(0, 10, (n,))
    layers, loss = summary.measure(summary.stages(model), x, y, 1)
    kept = summary.allocated(model, x, y)[0]
    assert n * (sum(layer.held for layer in layers) + loss) == pytest.approx(kept, rel=0.01)


def test_multiply_adds_of_the_first_layer_of_article():
    layer = networks.article()[0][0]
    assert summary.multiply_adds(layer, (96, 54, 54)) == 96 * 54 * 54 * 11 * 11


def test_the_receptive_field_is_what_the_gradient_reaches():
    layers = [nn.Conv2d(1, 1, 3), nn.MaxPool2d(3, stride=2), nn.Conv2d(1, 1, 5, dilation=2)]
    field = summary.ReceptiveField()
    sizes = [field.through(layer) for layer in layers]
    x = minicnn.zeros(1, 1, 32, 32, requires_grad=True)
    y = F.avg_pool2d(F.conv2d(x, minicnn.ones(1, 1, 3, 3)), 3, stride=2)  # as far as a maximum
    y = F.conv2d(y, minicnn.ones(1, 1, 5, 5), dilation=2)
    y[0, 0, 0, 0].backward()
    assert sizes == [3, 5, 21]
    assert (x.grad.cpu().numpy() != 0).any(axis=(0, 1, 2)).sum() == sizes[-1]


# --- the tape ------------------------------------------------------------------------------------


def test_the_tape_is_read_in_order_with_shapes_and_what_is_held():
    x = minicnn.randn(4, 3)
    w = minicnn.randn(2, 3, requires_grad=True)
    z = F.linear(x, w).exp()
    linear, exp, mean = tape.read(z.mean())
    assert [r.name for r in (linear, exp, mean)] == ["linear", "exp", "mean"]
    assert [r.shape for r in (linear, exp, mean)] == [(4, 2), (4, 2), ()]
    assert linear.inputs == [w]
    assert exp.inputs == [linear]
    assert exp.held == {tape.address(z.array): z.array.nbytes}


def test_a_block_that_two_operations_hold_counts_once():
    x = minicnn.randn(8, requires_grad=True)
    y = x.exp()
    recorded = tape.read((y * y).sum())
    assert sum(tape.held(recorded, set())) == y.array.nbytes


def test_both_uses_of_a_tensor_are_edges_of_the_graph():
    x = minicnn.randn(8, requires_grad=True)
    y = x.exp()
    recorded = tape.read((y * y).sum())
    vertices = list(graph.layout(recorded, [0] * len(recorded), {id(x): "x"}))
    assert [v.inputs for v in vertices] == [[], [0], [1, 1], [2]]


def test_graph_writes_three_languages(capsys, tmp_path, on):
    status, _, _, numbers = study(capsys, tmp_path, "graph", "quick", "--batch-size", "2", *on)
    assert status == 0
    assert numbers["bytes_held"] > 0
    names = [each["name"] for each in numbers["operations"]]
    assert names.count("max_pool2d") == 1
    out = tmp_path / "study"
    dot = (out / "graph.dot").read_text()
    used = {n for edge in re.findall(r"(n\d+) -> (n\d+)", dot) for n in edge}
    assert used == set(re.findall(r"^  (n\d+) \[", dot, re.MULTILINE))
    assert (out / "graph.mmd").read_text().startswith("flowchart TD\n")
    assert "0.0.weight" in (out / "graph.svg").read_text()


# --- trainings -----------------------------------------------------------------------------------


def test_the_network_that_is_changed_is_quick():
    ours = [p.shape for p in ablate.network().parameters()]
    assert ours == [p.shape for p in networks.quick().parameters()]


@pytest.mark.parametrize(
    ("name", "build"),
    [(n, b) for _, variants in ablate.QUESTIONS.values() for n, b in variants.items()],
    ids=named,
)
def test_every_variant_gives_a_logit_for_each_class(name, build):
    assert build()(minicnn.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.cpu  # its trainings are those of nin.train, which a device is tried with
def test_ablate_answers_what_is_asked(capsys, tmp_path, on):
    flags = ["--bottleneck", "--dropout", *SMALL, "--epochs", "1", "--seeds", "2", *on]
    status, out, _, numbers = study(capsys, tmp_path, "ablate", *flags)
    assert status == 0
    assert widest(out, tmp_path) <= 80
    names = [row["name"] for row in numbers["rows"]]
    assert names == [ablate.BASE, "bottleneck", "no dropout"]
    assert [row["seeds"] for row in numbers["rows"]] == [2, 2, 2]


@pytest.mark.cpu
def test_an_interrupted_ablation_keeps_what_is_done(capsys, tmp_path, monkeypatch):
    done = trial.Outcome("x", 0, 1, 1, 0.5, 0.6, 0.9, 0.8, 1.0, 0.1, "test")
    outcomes = iter([done])

    def train(*_):
        try:
            return next(outcomes)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(trial, "train", train)
    status, out, err, numbers = study(capsys, tmp_path, "ablate", *SMALL)
    assert status == 130
    assert "Interrupted after 1 of 12" in err
    assert [row["name"] for row in numbers["rows"]] == ["x"]
    assert "80.00" in out


@pytest.mark.cpu  # by what ablate trains with
def test_compare_trains_three_networks(capsys, tmp_path, on):
    status, out, _, numbers = study(capsys, tmp_path, "compare", *SMALL, "--seconds", "0.3", *on)
    assert status == 0
    assert widest(out, tmp_path) <= 80
    nin, _, alexnet = numbers["rows"]
    assert alexnet["parameters"] > 8 * nin["parameters"]


def test_compare_takes_the_steps_that_fit_into_the_time(capsys, tmp_path, on, monkeypatch):
    monkeypatch.setattr(trial, "step_seconds", lambda *_: 0.1)
    _, _, _, numbers = study(capsys, tmp_path, "compare", *SMALL, "--seconds", "0.5", *on)
    assert [row["epochs"] * 96 / row["batch_size"] for row in numbers["rows"]] == [5, 5, 5]


def test_the_least_difference_is_that_which_chance_rarely_makes():
    rng, n, apart = np.random.default_rng(0), 2000, 0
    for _ in range(n):  # two samples of three, and a third from which only the spread is known
        samples = rng.normal(0.9, 0.01, (3, 3))
        first, second, _ = samples.mean(1)
        apart += abs(first - second) > chance.least_difference(samples.tolist())
    assert apart / n == pytest.approx(0.05, abs=0.015)


def test_a_series_says_how_much_time_is_left_of_all_of_it(monkeypatch, capsys):
    clock = iter([100.0, *[160.0] * 9])
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    series = trial.Series(4)
    with series.bar("one", 10):
        pass
    with series.bar("no 1×1", 10) as count:
        for batch in range(5):
            count.on_batch(SimpleNamespace(testing=7 if batch > 3 else 0))
        count.bar.refresh()
    err = capsys.readouterr().err
    assert "2/4 no 1×1, testing:  50%" in err
    assert ", 01:40 left" in err  # a minute for 1.5 of 4


@pytest.mark.parametrize("classes", [3, 1000])
def test_heads_of_another_number_of_classes(capsys, tmp_path, classes):
    status, _, _, numbers = study(capsys, tmp_path, "heads", "--classes", str(classes))
    assert status == 0
    rows = {row["network"]: row["parameters"] for row in numbers["rows"]}
    assert rows["LeNet-5"] == 61_706 + (84 + 1) * (classes - 10)
    assert rows["AlexNet"] == 61_100_840 + (4096 + 1) * (classes - 1000)
    assert rows["NiN (quick)"] == sum(p.numel() for p in networks.quick(classes).parameters())


def test_one_seed_says_nothing_of_chance():
    assert chance.least_difference([[0.9], [0.8]]) is None
    assert chance.least_difference([[0.9], [0.8, 0.8]]) == 0
    assert "can't tell" in ablate.limits(None)
    assert "less than 0.31 points" in ablate.limits(0.0031)


# --- trained networks ----------------------------------------------------------------------------


@pytest.mark.cpu  # filters are read on the host
def test_filters_of_a_run(capsys, tmp_path, run, on):
    status, _, _, numbers = study(capsys, tmp_path, "filters", str(run), *on)
    assert status == 0
    assert np.array(numbers["first"]["filters"]).shape == (32, 1, 5, 5)
    assert [m["shape"] for m in numbers["mixing"]] == [[32, 32], [64, 64], [96, 96], [10, 96]]


def test_effective_rank_counts_equal_singular_values():
    assert filters.effective_rank(np.diag([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)


def test_the_mean_of_a_class_map_is_the_logit():
    model = networks.quick().eval()
    body, head = classmaps.split(model)
    x = minicnn.randn(3, 1, 28, 28)
    means, logits = (t.detach().cpu().numpy() for t in (body(x).mean((2, 3)), model(x)))
    np.testing.assert_allclose(means, logits, atol=ROUND)
    assert head(body(x)).shape == (3, 10)


def test_class_maps_of_a_run(capsys, tmp_path, run, on):
    flags = ["classmaps", str(run), "--limit-test", "100", "--wrong", "2", *on]
    status, out, _, numbers = study(capsys, tmp_path, *flags)
    assert status == 0
    assert widest(out, tmp_path) <= 80
    assert numbers["images"] == 100
    assert [s["label"] == s["guess"] for s in numbers["shown"]][-2:] == [False, False]
    assert numbers["mean_of_own_map"] > numbers["mean_of_other_maps"]


def test_the_effective_rank_of_nothing_is_0():
    assert filters.effective_rank(np.zeros((3, 4))) == 0


def test_half_of_a_gaussian_matrix_squares_lie_in_an_eighth_of_its_entries():
    matrix = minicnn.randn(200, 200, device="cpu").numpy()
    assert filters.figures(matrix)["half_norm_share"] == pytest.approx(0.124, abs=0.005)
