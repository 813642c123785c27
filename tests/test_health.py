"""The monitor: what it sees in a network, and what it makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import minicnn
from minicnn import nn
from nin import curves, train
from nin.health import PATIENCE, PLATEAU, Look, diagnose, look, silent_steps

from . import noise

HEALTHY = Look(
    step=100,
    loss=2.303,
    dead={"0.1": 0.25, "1.1": 0.6},
    gradient_norm={"0.0": 0.1, "1.0": 0.02},
    weight_norm={"0.0": 1.0, "1.0": 2.0},
    classes=10,
    dead_logits=6,
    equal_predictions=True,
    not_finite="",
)


def network():
    """Two convolutions with a ReLU each, on images of 4×4; 3 classes."""
    minicnn.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 3, 1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def images():
    return minicnn.rand(8, 1, 4, 4)


def test_dead_units_are_channels_that_are_0_for_every_image():
    model = network()
    model[0][0].bias.array[1:] = -100
    assert look(model, images(), 0, 1.0).dead["0.1"] == 0.75


def test_dead_logits_are_counted():
    model = network()
    model[1][0].bias.array[:2] = -100
    seen = look(model, images(), 0, 1.0)
    assert (seen.dead_logits, seen.classes) == (2, 3)


class Branches(nn.Module):
    """Two convolutions beside one another, one ReLU in two places, and one in none; 3 classes."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
        self.relu, self.unused = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head((self.relu(self.left(x)) + self.relu(self.right(x))).flatten(1))


def test_the_layers_of_any_network_are_looked_at():
    model = Branches()
    model.left.bias.array[1:] = -100
    model.right.bias.array[2:] = -100
    model.right.requires_grad_(False)
    before = [dict(vars(module)) for module in model.modules()]
    seen = look(model, images(), 0, 1.0)
    assert seen.dead == {"relu": 0.5, "unused": 0.0}  # that of the place where fewer are dead
    assert [*seen.weight_norm] == ["left", "right", "head"]
    assert [*seen.gradient_norm] == ["left", "head"]
    assert seen.classes == 3
    assert before == [vars(module) for module in model.modules()]


def test_what_is_not_finite_is_found_in_any_network():
    model = Branches()
    model.head.weight.array[0, 0] = float("nan")
    assert look(model, images(), 0, 1.0).not_finite.startswith("the weights of layer head, Linear")


def test_norms_are_those_of_weights_and_gradients_by_layer():
    model = network()
    for p in model.parameters():
        p.array[...] = 1
        p.grad = minicnn.full(p.shape, 2.0)
    seen = look(model, images(), 0, 1.0)
    assert seen.weight_norm == pytest.approx({"0.0": 40**0.5, "1.0": 15**0.5})
    assert seen.gradient_norm == pytest.approx({"0.0": 160**0.5, "1.0": 60**0.5})


def test_equal_predictions_are_noticed():
    model = network()
    model[1][0].bias.array[2] = 100
    assert look(model, images(), 0, 1.0).equal_predictions


@pytest.mark.parametrize(
    ("layer", "value", "where"),
    [
        (0, float("nan"), "the weights of layer 0.0, Conv2d"),
        (1, float("inf"), "the weights of layer 1.0, Conv2d"),
        (0, 3e38, "the output of layer 0.0, Conv2d"),
    ],
)
def test_the_first_layer_with_nan_or_infinity_is_named(layer, value, where):
    model = network()
    model[layer][0].weight.array[...] = value
    model[layer][0].bias.array[...] = value if value != 3e38 else 0
    assert look(model, 100 * images(), 0, 1.0).not_finite.startswith(where)


def test_a_look_changes_neither_mode_nor_random_numbers():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).train()
    before = minicnn.random.default_generator.get_state()
    look(model, minicnn.zeros(4, 1, 4, 4), 0, 1.0)
    assert model[1].training
    assert minicnn.random.default_generator.get_state() == before


def test_a_good_loss_is_nothing_to_speak_of():
    assert diagnose(replace(HEALTHY, loss=1.0), 0, 0, 0.1) is None


def test_a_short_plateau_is_nothing_to_speak_of():
    assert diagnose(HEALTHY, PLATEAU - 1, PLATEAU - 1, 0.1) is None


def test_a_plateau_is_no_death():
    finding = diagnose(HEALTHY, PLATEAU, 0, 0.1)
    assert (finding.kind, finding.final) == ("plateau", False)
    for part in ("ln 10 = 2.303", "6 of the 10 logits (layer 1.1)", "all predictions are equal"):
        assert part in finding.text


def test_a_plateau_that_lasts_is_stuck():
    finding = diagnose(HEALTHY, PATIENCE, 0, 0.1)
    assert (finding.kind, finding.final) == ("stuck", True)


def test_silent_classes_are_spoken_of_where_the_loss_is_better_than_guessing():
    finding = diagnose(replace(HEALTHY, loss=1.5), 0, PLATEAU, 0.1)
    assert (finding.kind, finding.final) == ("silent", False)
    assert "6 of the 10 logits (layer 1.1) have been 0 for every image" in finding.text


def test_classes_that_stay_silent_are_stuck():
    finding = diagnose(replace(HEALTHY, loss=1.5), 0, PATIENCE, 0.1)
    assert (finding.kind, finding.final) == ("stuck", True)


@pytest.mark.parametrize(
    ("dead", "steps"),
    [
        ([0, 3, 3], 25),
        ([3, 4, 4], 50),  # a class more is no reason to begin counting again
        ([4, 4, 3], 0),  # a class has come back
        ([3, 3, 0], 0),
        ([3, 0, 3], 0),
    ],
)
def test_silence_is_counted_from_when_a_class_last_came_back(dead, steps):
    looks = [replace(HEALTHY, step=25 * i, dead_logits=n) for i, n in enumerate(dead)]
    assert silent_steps(looks) == steps


def test_a_layer_without_a_living_unit_is_dead_at_once():
    finding = diagnose(replace(HEALTHY, dead={"0.1": 1.0, "1.1": 0.0}), 0, 0, 0.1)
    assert (finding.kind, finding.final) == ("dead", True)
    assert "the ReLU 0.1 gives 0 for every image" in finding.text
    assert "--on-stuck reinit" in finding.text


def test_nan_is_divergence_with_a_layer_and_a_flag_to_try():
    seen = replace(HEALTHY, loss=float("nan"), not_finite="the output of layer 0.0, Conv2d(…)")
    finding = diagnose(seen, 0, 0, 0.1)
    assert (finding.kind, finding.final) == ("diverged", True)
    for part in ("the output of layer 0.0", "--lr 0.02", "--max-norm 1"):
        assert part in finding.text


DRAWN = curves.health
FLAGS = ["--dataset", "silhouettes", "--limit-train", "512", "--limit-test", "64", "--epochs", "1"]
DIVERGE = [*FLAGS, "--lr", "1e6", "--max-norm", "0", "--lr-scheduler", "constant"]


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    noise.install(monkeypatch.setattr)

    def run(*flags):
        status = train.main([*flags, "--out", str(tmp_path / "run"), "--no-progress"])
        return status, capsys.readouterr().err, tmp_path / "run"

    return run


def events(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [row["kind"] for row in map(json.loads, lines) if row["kind"] not in ("epoch", "look")]


def test_a_training_that_diverges_says_so_and_stops_with_status_3(command):
    status, err, directory = command(*DIVERGE, "--on-stuck", "stop")
    assert status == 3
    assert "diverged" in err
    assert "layer" in err
    assert events(directory) == ["diverged"]


@pytest.mark.cpu
def test_a_training_that_diverges_says_so_once_and_goes_on_if_it_is_told_to(command):
    status, err, _ = command(*DIVERGE)
    assert (status, err.count("diverged")) == (0, 1)


@pytest.mark.cpu
def test_reinit_starts_again_from_the_next_seeds_and_records_it(command):
    status, err, directory = command(*DIVERGE, "--on-stuck", "reinit", "--seed", "5")
    assert status == 3  # it diverges with every seed, and somebody has to stop
    assert "Starting again with seed 6." in err
    assert events(directory).count("reinit") == 10
    path = directory / "config.toml"
    settings = path.read_text()
    assert "seed = 15" in settings
    path.write_text(settings.replace("seed = 15", "seed = 3"))
    assert train.main(["--resume", str(directory)]) == 1
    # as if it had been killed between the checkpoint of the last restart and this file
    path.write_text(settings.replace("seed = 15", "seed = 14"))
    assert train.main(["--resume", str(directory)]) == 0
    assert path.read_text() == settings


@pytest.mark.cpu
def test_the_health_of_each_layer_is_in_the_metrics_and_drawn(command, monkeypatch):
    monkeypatch.setattr(curves, "health", DRAWN)
    _, _, directory = command(*FLAGS)
    header = (directory / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"dead:0.1", "gradient_norm:0.0", "weight_norm:0.0"} <= set(header)
    assert (directory / "health.png").read_bytes().startswith(b"\x89PNG")
