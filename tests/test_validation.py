"""`--validation N`: training images that are held back, and a test set that is looked at once."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.utils.data import DataLoader
from minicnn.vision.image_dataset import ImageDataset
from nin import compare, data, evaluate, fit, train
from nin.presets import Preset
from nin.run import Run
from nin.study import __main__ as study
from nin.study import trial

from . import noise
from .test_resume import command as quietly
from .test_resume import ended, half_written, killed, metrics, start

pytestmark = pytest.mark.cpu
SMALL = ["--limit-train", "40", "--limit-test", "16", "--batch-size", "8", "--epochs", "2"]
SMALL += ["--no-progress", "--threads", "1"]
HELD = ["--validation", "12"]
LINE = r"Epoch \[\d/2\], Train Loss: \d\.\d{4}, Val Loss: \d\.\d{4}, Acc: \d+\.\d\d%"
LAST = r"Test Loss: \d\.\d{4}, Acc: \d+\.\d\d%"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    noise.install(monkeypatch.setattr)


@pytest.fixture
def command(capsys):
    def call(module, *arguments):
        try:
            status = module.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def run(tmp_path, command):
    """A run of two epochs with a validation set; its directory and what it printed."""
    status, out, err = command(train, *SMALL, *HELD, "--out", tmp_path / "run")
    assert status == 0, err
    return tmp_path / "run", out, err


# --- the split -----------------------------------------------------------------------------------


def numbered(n):
    """n images, the label of each its number."""
    return ImageDataset(np.zeros((n, 28, 28), np.uint8), np.arange(n))


def numbers(images):
    return images.targets.tolist()


@given(st.integers(2, 300), st.data())
def test_what_is_held_back_and_the_rest_are_disjoint_and_complete(n, draw):
    held = draw.draw(st.integers(1, n - 1))
    rest, validation = data.hold_back(held, numbered(n), None)
    assert (len(rest), len(validation)) == (n - held, held)
    assert sorted(numbers(rest) + numbers(validation)) == list(range(n))


def test_all_classes_of_images_in_order_are_held_back():
    """They are drawn from everywhere, not cut off at an end."""
    _, validation = data.hold_back(100, numbered(1000), None)
    assert set(np.array(numbers(validation)) // 100) == set(range(10))


def test_more_held_back_are_the_same_and_others():
    fewer, more = (set(numbers(data.hold_back(n, numbered(50), None)[1])) for n in (10, 20))
    assert fewer < more


def test_a_label_stays_with_its_image():
    images = np.arange(50, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    for part in data.hold_back(20, ImageDataset(images, np.arange(50)), None):
        assert numbers(part) == part.data.numpy()[:, 0, 0].tolist()


PRESET = Preset(dataset="silhouettes", limit_train=40, limit_test=10, validation=15)


@pytest.fixture
def real(monkeypatch):
    """Silhouettes again, not noise."""
    monkeypatch.undo()


@pytest.mark.usefixtures("real")
def test_every_seed_holds_back_the_same_images():
    (one, _), (other, _) = (data.load(replace(PRESET, seed=seed)) for seed in (0, 1))
    np.testing.assert_array_equal(one.validation.data.numpy(), other.validation.data.numpy())


@pytest.mark.usefixtures("real")
def test_the_limit_comes_first():
    """The images held back are of the first N, and with the others are all of these."""
    found, _ = data.load(PRESET)
    first, _ = data.load(replace(PRESET, validation=0))
    train, held = found.train.data.numpy(), found.validation.data.numpy()
    assert (len(train), len(held)) == (25, 15)
    expected = sorted(image.tobytes() for image in first.train.data.numpy())
    assert sorted(image.tobytes() for image in (*train, *held)) == expected


@pytest.mark.usefixtures("real")
def test_images_held_back_are_not_augmented():
    found, _ = data.load(replace(PRESET, flip=True, shift=3))
    (images, _), *_ = DataLoader(found.validation, 15)
    expected = found.validation.data.numpy() / np.float32(255)
    np.testing.assert_allclose(images.numpy()[:, 0], expected, rtol=1e-6)


# --- a training ----------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    """The images of all training steps, as bytes."""
    images, step = set(), fit.Training._undone_if_it_fails

    def note(self, batch, labels):
        images.update(image.tobytes() for image in batch.cpu().numpy())
        step(self, batch, labels)

    monkeypatch.setattr(fit.Training, "_undone_if_it_fails", note)
    return images


@pytest.mark.parametrize("seed", ["0", "7"])
def test_images_held_back_are_never_trained_on_and_all_others_are(seen, command, tmp_path, seed):
    flags = ["--preset", "quick", *SMALL, *HELD, "--seed", seed, "--out", tmp_path / "run"]
    assert command(train, *flags)[0] == 0
    preset = Preset(limit_train=40, limit_test=16, validation=12, mean=0.286, std=0.353)
    found, _ = noise.load(preset)
    (held, _), *_ = DataLoader(found.validation, 12)
    (others, _), *_ = DataLoader(found.train, 28)
    assert not seen & {image.tobytes() for image in held.numpy()}
    assert seen == {image.tobytes() for image in others.numpy()}


def test_lines_say_val_and_the_last_one_test(run):
    *epochs, last = run[1].splitlines()
    assert len(epochs) == 2
    assert all(re.fullmatch(LINE, line) for line in epochs)
    assert re.fullmatch(LAST, last)


def test_the_introduction_counts_three_sets_and_fits_80_columns(run):
    line = run[2].splitlines()[0]
    assert line == "Data     noise: 28 training, 12 validation, 16 test images"
    full = line.replace("noise: 28", "Fashion-MNIST: 50,000").replace("12", "10,000")
    assert len(full.replace("16", "10,000")) <= 80


@pytest.fixture
def evaluated(monkeypatch):
    """How many images each evaluation of a network is of, in turn."""
    counts, real = [], fit.evaluate

    def note(executor, loader, *rest):
        counts.append(len(loader.dataset))
        return real(executor, loader, *rest)

    for module in (fit, trial):
        monkeypatch.setattr(module, "evaluate", note)
    return counts


def test_the_test_set_is_looked_at_once_after_the_last_epoch(evaluated, run):
    assert evaluated == [12, 12, 16]


def test_without_it_each_epoch_is_tested_and_nothing_else_is_done(evaluated, command, tmp_path):
    _, out, _ = command(train, *SMALL, "--out", tmp_path / "run")
    assert evaluated == [16, 16]
    assert "Val Loss" not in out
    assert not (tmp_path / "run" / "test.json").exists()


def test_the_test_is_recorded_as_it_was_printed(run):
    directory, out, _ = run
    result = json.loads((directory / "test.json").read_text())
    said = f"Test Loss: {result['loss']:.4f}, Acc: {result['accuracy']:.2%}"
    assert (said, result["images"]) == (out.splitlines()[-1], 16)


def test_the_columns_claim_no_test(run):
    header = (run[0] / "metrics.csv").read_text().partition("\n")[0].split(",")
    assert header[:4] == ["epoch", "train_loss", "eval_loss", "accuracy"]
    assert "test_loss" not in header


def test_curves_name_the_set(run):
    assert b"validation" in (run[0] / "curves.png").read_bytes()


def test_a_look_is_of_images_held_back(command, tmp_path, monkeypatch):
    monitors, real = [], train.Monitor
    monkeypatch.setattr(train, "Monitor", lambda t: monitors.append(real(t)) or monitors[-1])
    assert command(train, *SMALL, *HELD, "--out", tmp_path / "run")[0] == 0
    found, _ = noise.load(Preset(limit_train=40, limit_test=16, validation=12))
    seen = monitors[0].images.numpy()
    assert len(seen) == 8  # of a batch
    raw = found.validation.data.numpy()[:8, None] / 255
    np.testing.assert_allclose(seen, (raw - 0.286) / 0.353, rtol=1e-4)


def test_a_dry_run_takes_a_step_an_evaluation_and_a_test(evaluated, command):
    status, out, _ = command(train, "--dry-run", "--batch-size", "8", "--validation", "12")
    assert (status, len(out.splitlines())) == (0, 2)
    assert evaluated == [8, 8]


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ("40", "validation: 40 of 40 training images leave none to train on"),
        ("41", "validation: 41 of 40 training images leave none to train on"),
        ("1000000000", "validation: 1,000,000,000 of 40 training images leave none to train on"),
        ("-1", "must be a whole number of at least 0"),
        ("1.5", "must be a whole number"),
    ],
)
def test_what_leaves_no_images_is_one_line_and_status_2(command, tmp_path, held, words):
    out = tmp_path / "run"
    status, said, err = command(train, *SMALL, "--validation", held, "--out", out)
    assert (status, said, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not out.exists()


@pytest.mark.parametrize("held", ["1", "39"])
def test_one_image_is_enough_to_train_on_or_to_be_held_back(command, tmp_path, held):
    flags = [*SMALL, "--validation", held, "--out", tmp_path / "run"]
    status, out, _ = command(train, *flags)
    assert (status, len(re.findall(LINE, out))) == (0, 2)


def test_a_file_may_ask_for_it(command, tmp_path):
    (tmp_path / "my.toml").write_text("validation = 12\n")
    flags = ["--config", tmp_path / "my.toml", "--out", tmp_path / "run"]
    _, out, _ = command(train, *SMALL, *flags)
    assert len(re.findall(LINE, out)) == 2
    assert "validation = 12\n" in (tmp_path / "run" / "config.toml").read_text()


# --- a run that goes on --------------------------------------------------------------------------

KILLS = {  # where, and at which call
    "in the middle of the first epoch": ("a step", 3),
    "in the last epoch": ("a step", 6),
    "before its results are written": ("a file half written", 7),
}


def assert_the_same(run, other):
    for name in ("model.safetensors", "curves.png", "health.png", "config.toml", "test.json"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics(run) == metrics(other)


def go_on(out, command, run):
    status, said, err = command(train, "--resume", out)
    assert status == 0, err
    assert said.splitlines()[-1] == run[1].splitlines()[-1]
    assert_the_same(out, run[0])


@pytest.mark.parametrize("point", KILLS.values(), ids=KILLS)
def test_a_run_that_was_killed_ends_the_same(run, command, tmp_path, point):
    out = tmp_path / "killed"
    flags = [*SMALL, *HELD, "--checkpoint-minutes", "0.0001", "--out", str(out)]
    process = start(killed, *point, *flags)
    ended(process)
    assert process.exitcode == -signal.SIGKILL
    go_on(out, command, run)


def before_the_test(*arguments):
    """The command, killed when it begins the test at the end."""
    killed_at(fit.Training, "test", lambda *_: None, *arguments)


def while_the_test_is_written(*arguments):
    """The command, killed when half of the test's result is in a file."""

    def half(run, *_):
        half_written(run.directory / "test.json", b'{"loss": 2.3, "accuracy": 0.1}')

    killed_at(Run, "write_test", half, *arguments)


def killed_at(owner, name, leave, *arguments):
    def call(*args):
        leave(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, call)
    quietly(*arguments)


@pytest.mark.parametrize("kill", [before_the_test, while_the_test_is_written])
def test_a_run_killed_between_its_last_epoch_and_the_test_is_tested(run, command, tmp_path, kill):
    out = tmp_path / "killed"
    process = start(kill, *SMALL, *HELD, "--out", str(out))
    ended(process)
    assert process.exitcode == -signal.SIGKILL
    assert len(metrics(out)) == len(metrics(run[0]))
    assert not (out / "test.json").exists()
    go_on(out, command, run)


def test_a_signal_that_comes_in_the_test_ends_it_and_the_run_goes_on_to_it(
    run, command, tmp_path, monkeypatch
):
    real = fit.Training.test

    def test(self, test_set):
        signal.raise_signal(signal.SIGTERM)
        return real(self, test_set)

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(fit.Training, "test", test)
        status, said, err = command(train, *SMALL, *HELD, "--out", out)
    assert status == 128 + signal.SIGTERM
    assert "Ended by SIGTERM; python -m nin.train --resume" in " ".join(err.split())
    assert "Test Loss" not in said
    go_on(out, command, run)


def test_a_finished_run_that_is_resumed_tests_the_same_again(run, command):
    before = (run[0] / "test.json").read_bytes()
    status, out, _ = command(train, "--resume", run[0])
    assert (status, out) == (0, run[1].splitlines()[-1] + "\n")
    assert (run[0] / "test.json").read_bytes() == before


def test_a_result_that_can_not_be_written_is_a_failure_at_the_end(command, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nin.run.Run.write_test", full)
    with pytest.warns(UserWarning, match="the test's result could not be written: .*No space"):
        status, out, _ = command(train, *SMALL, *HELD, "--out", tmp_path / "run")
    assert status == 1
    assert re.fullmatch(LAST, out.splitlines()[-1])


# --- after a training ----------------------------------------------------------------------------


def test_evaluate_gives_the_last_epochs_figures_or_the_tests(run, command, tmp_path):
    directory, out, _ = run
    _, epoch, test = out.splitlines()
    for flags, line in ((["--validation"], epoch), ([], test)):
        _, said, _ = command(evaluate, directory, *flags, "--out", tmp_path)
        name, loss, accuracy = re.search(r"(Val|Test) Loss: (\S+), Acc: (\S+)", line).groups()
        assert said.startswith(f"{name} Loss: {loss}, Acc: {accuracy} of ")


def test_evaluate_as_json_names_the_set(run, command, tmp_path):
    for flags, name, images in ((["--validation"], "validation", 12), ([], "test", 16)):
        result = json.loads(command(evaluate, run[0], "--json", *flags, "--out", tmp_path)[1])
        assert (result["set"], result["images"]) == (name, images)


@pytest.fixture
def other(run, command):
    """A run whose epochs were evaluated on the test set."""
    out = run[0].with_name("other")
    assert command(train, *SMALL, "--out", out)[0] == 0
    return out


def test_evaluate_refuses_images_that_no_run_has_held_back(other, command):
    status, out, err = command(evaluate, other, "--validation")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"{other} has no validation images" in err


def test_compare_says_which_set_figures_are_of_and_shows_the_test(run, command, tmp_path):
    flags = [run[0], "--out", tmp_path / "c.png"]
    above, heading, row, *_ = command(compare, *flags)[1].splitlines()
    assert above.split() == ["train", "val", "test"]
    assert heading.split()[3:7] == ["loss", "accuracy", "best", "accuracy"]
    (result,) = json.loads(command(compare, *flags, "--json")[1])
    assert result["evaluated_on"] == "validation"
    assert result["test"] == json.loads((run[0] / "test.json").read_text())
    assert f"{result['test']['accuracy']:.2%}" in row


def test_compare_shows_a_run_that_was_not_yet_tested(run, command, tmp_path):
    (run[0] / "test.json").unlink()
    status, out, _ = command(compare, run[0], "--out", tmp_path / "c.png")
    assert status == 0
    assert "–" in out.splitlines()[2]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"loss": 1, "accuracy": 2, "images": 1}'])
def test_a_test_that_can_not_be_is_one_line_and_status_1(run, command, tmp_path, text):
    (run[0] / "test.json").write_text(text)
    status, out, err = command(compare, run[0], "--out", tmp_path / "c.png")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "test.json" in err


def test_compare_refuses_runs_of_unlike_sets(run, other, command, tmp_path):
    status, out, err = command(compare, run[0], other, "--out", tmp_path / "c.png")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"{run[0]} was evaluated on validation images and {other} on test images" in err
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize("name", ["ablate", "compare"])
@pytest.mark.parametrize(("flags", "images"), [(HELD, 12), ([], 16)], ids=["validation", "test"])
def test_a_study_is_of_the_set_that_it_names(evaluated, command, tmp_path, name, flags, images):
    flags = ["--limit-train", "40", "--limit-test", "16", *flags, "--out", tmp_path / name]
    flags += ["--bottleneck", "--epochs", "1"] if name == "ablate" else ["--seconds", "0.01"]
    status, out, err = command(study, name, *flags)
    assert status == 0, err
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    said, others = ("validation", "test") if images == 12 else ("test", "validation")
    assert f"gap: {said} loss" in out
    assert others not in out.partition("Written to")[0].lower()
    assert set(evaluated) == {images, 28 if images == 12 else 40}  # and of training images
    rows = json.loads((tmp_path / name / f"{name}.json").read_text())
    assert {row["evaluated_on"] for row in rows.get("outcomes", rows["rows"])} == {said}
