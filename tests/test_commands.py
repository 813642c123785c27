"""`nin.evaluate`, `nin.predict`, `nin.compare` and `python -m nin` as a person uses them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.vision.datasets import FashionMNIST
from nin import __main__ as package
from nin import compare, evaluate, export, predict, train
from nin.kind import CLOTHES
from nin.picture import PictureError, read
from nin.tensorboard import Board

pytestmark = pytest.mark.cpu  # test_train_gpu.py has them on a GPU
SMALL = ["--limit-train", "640", "--limit-test", "100", "--epochs", "1", "--no-progress"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    assert train.main([*SMALL, "--tensorboard", "--out", str(out)]) == 0
    return out


@pytest.fixture
def command(capsys):
    def call(module, *arguments):
        try:
            status = module.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


# --- evaluate ------------------------------------------------------------------------------------


def test_evaluation_gives_the_accuracy_and_loss_that_training_printed(run, command, tmp_path):
    status, out, _ = command(evaluate, run, "--json", "--out", tmp_path)
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    result = json.loads(out)
    assert status == 0
    assert result["accuracy"] == pytest.approx(row["accuracy"])
    assert result["loss"] == pytest.approx(row["eval_loss"], rel=1e-5)


def test_evaluation_draws_two_pictures(run, command, tmp_path):
    command(evaluate, run, "--out", tmp_path)
    for name in ("confusion.png", "mistakes.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_table_of_classes_fits_80_columns(run, command, tmp_path):
    _, out, _ = command(evaluate, run, "--out", tmp_path)
    assert max(map(len, out.splitlines())) <= 80
    assert "Ankle boot" in out


def test_precision_and_recall_are_those_of_the_confusion_matrix():
    logp = np.log(np.eye(10)[[0, 0, 1, 1]] * 0.9 + 0.01)
    result = evaluate.figures(logp, np.array([0, 1, 1, 1]), CLOTHES.classes)
    first, second, third = result["classes"][:3]
    assert (first["precision"], first["recall"]) == (0.5, 1.0)
    assert (second["precision"], second["recall"]) == (1.0, pytest.approx(2 / 3))
    assert (third["precision"], third["recall"]) == (None, None)
    assert result["confusion"][1][:2] == [1, 2]


@pytest.mark.parametrize("module", [evaluate, compare])
def test_a_directory_without_a_run_is_one_line_and_status_1(module, command, tmp_path):
    status, out, err = command(module, tmp_path)
    assert (status, out, err.count("\n")) == (1, "", 1)


# --- predict -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boot():
    """The first test image, as it is in the data set."""
    return FashionMNIST("data", train=False, download=True).data.numpy()[0]


def saved(tmp_path, array, name="image.png", **options):
    Image.fromarray(array).save(tmp_path / name, **options)
    return tmp_path / name


def far(image, boot):
    """The mean difference of two images, in shades of grey, if one may move by a pixel."""
    return min(abs(np.roll(image, d, 0).astype(float) - boot).mean() for d in (-1, 0, 1))


def test_an_image_of_the_data_set_is_taken_as_it_is(tmp_path, boot):
    np.testing.assert_array_equal(read(saved(tmp_path, boot)), boot)


def large(boot):
    """The boot as a shop would show it: large, dark on white, with a wide margin."""
    big = np.array(Image.fromarray(255 - boot).resize((280, 280), Image.Resampling.BILINEAR))
    return np.pad(big, ((40, 90), (60, 20)), constant_values=255)


def test_dark_on_light_of_any_size_becomes_light_on_dark_of_28(tmp_path, boot):
    image = read(saved(tmp_path, large(boot)))
    assert (image.shape, image.dtype) == ((28, 28), np.uint8)
    assert far(image, boot) < 12


def test_light_on_dark_is_not_negated(tmp_path, boot):
    assert far(read(saved(tmp_path, 255 - large(boot))), boot) < 12


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "1-bit", "16-bit", "JPEG"])
def test_any_kind_of_png_or_jpeg_is_read(tmp_path, boot, kind):
    array = large(boot)
    image, name = Image.fromarray(array), "image.png"
    if kind in ("RGB", "RGBA", "P"):
        image = image.convert(kind)
    elif kind == "1-bit":
        image = image.point(lambda v: 255 * (v > 200)).convert("1")
    elif kind == "16-bit":
        image = Image.fromarray(array.astype("uint16") * 257)
    else:
        name = "image.jpg"
    image.save(tmp_path / name)
    assert far(read(tmp_path / name), boot) < (80 if kind == "1-bit" else 12)


def test_what_is_transparent_is_background(tmp_path, boot):
    rgba = np.zeros((28, 28, 4), np.uint8)
    rgba[..., 3] = boot
    assert far(read(saved(tmp_path, rgba)), boot) < 12


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"hello", "is not a PNG or JPEG")],
)
def test_what_is_no_picture_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(PictureError, match=message):
        read(tmp_path / "x.png")


def test_a_truncated_picture_is_refused(tmp_path, boot):
    path = saved(tmp_path, large(boot))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(PictureError, match=r"image\.png is broken"):
        read(path)


def test_a_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(PictureError, match="shows nothing"):
        read(saved(tmp_path, np.full((50, 50), 255, np.uint8)))


def test_prediction_shows_what_was_seen_and_ten_probabilities(run, command, tmp_path, boot):
    status, out, _ = command(predict, run, saved(tmp_path, large(boot)))
    assert status == 0
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    assert out.count("%") >= 10
    assert "*******" in out


def test_prediction_as_json(run, command, tmp_path, boot):
    path = saved(tmp_path, boot)
    status, out, _ = command(predict, run, path, path, "--json")
    first, second = json.loads(out)
    assert status == 0
    assert first == second
    assert first["class"] == max(first["probabilities"], key=first["probabilities"].get)
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_broken_picture_is_one_line_and_status_1(run, command, tmp_path):
    (tmp_path / "x.png").write_bytes(b"hello")
    status, out, err = command(predict, run, tmp_path / "x.png")
    assert (status, out, err.count("\n")) == (1, "", 1)


# --- compare -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(run):
    out = run.with_name("b")
    assert train.main([*SMALL, "--lr", "0.01", "--out", str(out)]) == 0
    return out


def test_comparison_is_a_table_with_what_differs_and_a_picture(run, other, command, tmp_path):
    status, out, _ = command(compare, run, other, "--out", tmp_path / "c.png")
    lines = out.splitlines()
    assert status == 0
    assert [line.split()[0] for line in lines if line[:1].strip()] == ["run", "a", "b", "a", "b"]
    assert lines[-1].endswith("lr 0.01")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_comparison_as_json(run, other, command, tmp_path):
    _, out, _ = command(compare, run, other, "--json", "--out", tmp_path / "c.png")
    assert [row["settings"]["lr"] for row in json.loads(out)] == [0.4, 0.01]


# --- the rest ------------------------------------------------------------------------------------


def test_tensorboard_gets_event_files(run):
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_event_files_that_cannot_be_written_are_a_warning(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    board = Board(tmp_path, SimpleNamespace(training=SimpleNamespace(epoch=1)))
    monkeypatch.setattr(board.writer, "add_scalar", full)
    with pytest.warns(UserWarning, match="event files could not be written: .*No space left"):
        board.add({"epoch": 1, "train_loss": 0.5})
    board.close()


def test_the_package_lists_every_command_that_there_is(command):
    status, out, _ = command(package)
    there = [p for p in Path(package.__file__).parent.glob("*") if "PROG = " in source(p)]
    assert status == 0
    assert {p.stem for p in there} == set(package.COMMANDS) | {"__main__"}
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in package.COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


def source(path):
    """The text of a module, or of what a package does as a command."""
    path = path / "__main__.py" if path.is_dir() else path
    return path.read_text() if path.suffix == ".py" and path.exists() else ""


@pytest.mark.parametrize("name", package.COMMANDS)
def test_the_package_runs_its_commands(command, name):
    status, out, _ = command(package, name, "--help")
    assert status == 0
    assert out.startswith(f"usage: python -m nin.{name} ")


def test_what_a_command_is_given_by_the_package_is_the_rest(command):
    status, _, err = command(package, "study", "heads", "--no-such-flag")
    assert status == 2
    assert err.startswith("python -m nin.study heads: there is no flag --no-such-flag")


@pytest.mark.parametrize("flags", [["nosuch"], ["--nosuch"], [""]])
def test_no_such_command_is_one_line_and_status_2(command, flags):
    status, out, err = command(package, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "python -m nin lists them" in err


def test_the_package_tells_its_version(command):
    assert command(package, "--version")[:2] == (0, f"nin-from-scratch {minicnn.__version__}\n")


@pytest.mark.parametrize("module", [train, evaluate, predict, compare, export])
def test_help_has_examples_and_fits_80_columns(module, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = command(module, "--help")
    assert status == 0
    assert "examples:\n  python -m nin." in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_breaks_no_line_within_a_default(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = command(train, "--help")
    assert out.count("(default: ") > 30
    assert not re.search(r"\(default: [^)]*$", out, re.MULTILINE)
