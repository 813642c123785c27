"""Pictures of one's own, from a folder to an answer: what is made of them, said, and refused."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn import nn
from minicnn.console import Failure, UsageError
from minicnn.vision.datasets import CIFAR10, ImageFolder
from nin import data as datasets
from nin import evaluate, predict, split, train
from nin.catalogue import DATASETS, is_name, title
from nin.kind import Kind
from nin.picture import preparation
from nin.presets import PRESETS, Preset
from nin.study import __main__ as study

from . import noise
from .test_archives import parts, published, tar

pytestmark = pytest.mark.cpu


def draw(path, size=(16, 16), mode="RGB", seed=0):
    """A picture of noise, (width, height), whose channels differ in brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    w, h = size
    planes = np.random.default_rng(seed).integers(0, 100, (h, w, 3)) + np.array([0, 50, 150])
    Image.fromarray(planes.astype(np.uint8)).convert(mode).save(path)


def fill(root, counts, **options):
    """Pictures in `root`/CLASS, so many of each class."""
    for i, (name, n) in enumerate(counts.items()):
        for j in range(n):
            draw(root / name / f"{name}{j}.png", seed=1000 * i + j, **options)
    return root


def load(root, **settings):
    return datasets.load(Preset(dataset=str(root), **settings))


def names(part):
    return [os.path.basename(path) for path, _ in part.samples]


# --- which pictures are for what -----------------------------------------------------------------


def test_of_classes_alone_a_fifth_of_each_is_for_testing_whatever_the_seed(tmp_path):
    fill(tmp_path, {"cat": 10, "dog": 7, "owl": 2})
    data, preset = load(tmp_path)
    counts = np.bincount(data.test.targets.numpy())
    assert counts.tolist() == [2, 1, 1]
    both = [*names(data.train), *names(data.test)]
    assert len(set(both)) == len(both) == 19
    again, _ = load(tmp_path, seed=3)
    assert names(again.test) == names(data.test)
    assert any("a fifth of each class is for testing" in note for note in data.notes)
    assert (data.kind, preset.dataset) == (Kind(("cat", "dog", "owl"), 3, 16, 16), str(tmp_path))


def test_folders_for_training_and_for_testing_are_taken_as_they_are(tmp_path):
    fill(tmp_path / "train", {"cat": 5, "dog": 4})
    fill(tmp_path / "test", {"cat": 2, "dog": 3})
    data, _ = load(tmp_path)
    assert (len(data.train), len(data.test), data.notes) == (9, 5, [])
    assert sorted(names(data.train)) == sorted(os.listdir(tmp_path / "train" / "cat")) + sorted(
        os.listdir(tmp_path / "train" / "dog")
    )


def test_the_first_images_that_a_limit_leaves_are_of_all_classes(tmp_path):
    fill(tmp_path, {"cat": 40, "dog": 40})
    data, _ = load(tmp_path, limit_train=16)
    assert set(data.train.targets.tolist()) == {0, 1}


@pytest.mark.parametrize("grey", ["train", "test", "both", "none"])
def test_colour_is_decided_from_all_pictures(tmp_path, grey):
    for part in ("train", "test"):
        mode = "L" if grey in (part, "both") else "RGB"
        fill(tmp_path / part, {"cat": 2, "dog": 2}, mode=mode)
    data, _ = load(tmp_path)
    assert data.kind.channels == (1 if grey == "both" else 3)
    for part in (data.train, data.test):
        assert part.data.ndim == (3 if grey == "both" else 4)


def test_pictures_of_different_sizes_are_resized_if_a_size_is_given(tmp_path):
    fill(tmp_path / "a", {"cat": 2, "dog": 2}, size=(20, 30))
    fill(tmp_path / "b", {"cat": 2, "dog": 2}, size=(40, 10))
    (tmp_path / "a").rename(tmp_path / "train")
    (tmp_path / "b").rename(tmp_path / "test")
    message = "2 different sizes, from 10×40 to 30×20; --image-size 64, or another number"
    with pytest.raises(UsageError, match=message):
        load(tmp_path)
    data, preset = load(tmp_path, image_size=12)
    assert (data.kind.height, data.kind.width) == (12, 12)
    assert preset.transform(train=False, kind=data.kind).batch(
        data.test.data.array, None
    ).shape == (4, 3, 12, 12)


def test_broken_pictures_are_refused_or_skipped_and_counted(tmp_path):
    fill(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    (tmp_path / "dog" / "notes.txt").write_text("of a dog")
    with pytest.raises(UsageError, match=r"2 of 12 pictures.*bad\.png.*--skip-broken") as caught:
        load(tmp_path)
    assert "skip_broken" not in str(caught.value)
    data, _ = load(tmp_path, skip_broken=True)
    assert len(data.train) + len(data.test) == 10
    text = "\n".join(data.notes)
    assert (
        "skipped 2 pictures" in text and "cat/bad.png is" in text and "passed over 1 file" in text
    )


# --- what is refused -----------------------------------------------------------------------------


def one_class(root):
    fill(root, {"cat": 3})


def lonely(root):
    fill(root, {"cat": 3, "dog": 1})


def without_pictures(root):
    fill(root, {"cat": 3, "dog": 3})
    (root / "owl").mkdir()


def other_classes(root):
    fill(root / "train", {"cat": 2, "dog": 2})
    fill(root / "test", {"cat": 2, "owl": 2})


def train_alone(root):
    fill(root / "train", {"cat": 2, "dog": 2})
    fill(root / "valid", {"cat": 2, "dog": 2})


def pictures_alone(root):
    for i in range(7):
        draw(root / f"{i}.png")


def odd_name(root):
    fill(root, {"cat\x1b[2J": 2, "dog": 2})


BAD = [
    (lambda root: None, "no folders with pictures in it, one for each class; there is nothing"),
    (pictures_alone, "there is 0.png, 1.png"),
    (one_class, "holds one class alone, cat"),
    (lonely, "dog has one picture alone"),
    (without_pictures, "no pictures in owl, of 3 classes"),
    (other_classes, "test has no dog, train has no owl"),
    (train_alone, "holds train, valid; with train there must be test"),
    (odd_name, r"'cat\x1b[2J' can't be the name of a class"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_a_folder_that_can_not_be_is_one_line_that_says_what_is_there(
    tmp_path, capsys, make, message
):
    root = tmp_path / "pictures"
    root.mkdir()
    make(root)
    assert train.main(["--dataset", str(root), "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err
    assert "allow_empty" not in err and "skip_broken" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [
        ("fashion-minst", "did you mean fashion-mnist?"),
        ("Fashion_MNIST", "did you mean fashion-mnist?"),
        ("CIFAR10", "did you mean cifar-10?"),
        ("cifar100", "did you mean cifar-100?"),
        ("emnist_letters", "did you mean emnist-letters?"),
        ("Auto", "did you mean auto?"),
        ("my/pictures", "there are auto, fashion-mnist"),
        ("", "--dataset: must be the name of a data set"),
        ("a\nb", "--dataset: must be the name of a data set"),
    ],
)
def test_what_is_no_data_set_and_no_folder_is_one_line_with_a_hint(
    tmp_path, capsys, monkeypatch, dataset, hint
):
    monkeypatch.chdir(tmp_path)
    try:
        status = train.main(["--dataset", dataset])
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1)
    assert hint in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shift", "16"], "--shift 16 moves images of 16×16 out of sight"),
        (["--mean", "0.1,0.2,0.3"], "--mean has 3 numbers, and the images 1 channel"),
        (["--image-size", "1", "--preset", "article"], "can't take images of 1×1"),
        (["--data-dir", "x"], "--data-dir is for data sets by name"),
        (["--validation", "10"], "validation: 10 of 7 training images leave none"),
    ],
)
def test_settings_that_the_pictures_can_not_have_are_one_line(tmp_path, capsys, flags, message):
    fill(tmp_path, {"cat": 4, "dog": 5}, mode="L")
    assert train.main(["--dataset", str(tmp_path), *flags, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err


def test_pictures_of_one_colour_have_no_deviation(tmp_path, capsys):
    for i, name in enumerate(["a0", "a1", "b0", "b1"]):
        path = tmp_path / name[0] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(path)
    assert train.main(["--dataset", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "the training images have one colour" in capsys.readouterr().err


def test_a_data_directory_that_holds_something_else_is_not_passed_over(tmp_path, capsys):
    fill(tmp_path, {"cat": 2, "dog": 2})
    flags = ["--data-dir", str(tmp_path), "--limit-train", "5", "--limit-test", "5"]
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"--data-dir: {tmp_path} holds no Fashion-MNIST, but cat, dog" in err
    assert f"--dataset {tmp_path}" in err


# --- mean and standard deviation -----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_mean_and_deviation_are_those_of_the_training_images(tmp_path, monkeypatch, mode, memory):
    fill(tmp_path, {"cat": 9, "dog": 8}, mode=mode)
    kept = ImageFolder(tmp_path, mode=mode)
    monkeypatch.setattr(
        datasets.folder, "ImageFolder", lambda *a, **k: ImageFolder(*a, **k, memory=memory)
    )
    data, preset = load(tmp_path, mean="measured", std="measured", validation=4)
    assert data.train.in_memory == (memory > 0)
    paths = {path for path, _ in data.train.samples}
    own = [i for i, (path, _) in enumerate(kept.samples) if path in paths]
    pixels = kept.data.numpy()[own] / 255
    axes = (0, 1, 2)
    np.testing.assert_allclose(preset.mean, pixels.mean(axes).ravel(), atol=5.1e-4)
    np.testing.assert_allclose(preset.std, pixels.std(axes).ravel(), atol=5.1e-4)


def test_what_is_given_is_not_measured(tmp_path):
    fill(tmp_path, {"cat": 3, "dog": 3})
    _, preset = load(tmp_path, mean=(0.1, 0.2, 0.3), std="measured")
    assert preset.mean == (0.1, 0.2, 0.3)
    assert len(preset.std) == 3


# --- from a folder to an answer ------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder, and a run on it."""
    place = tmp_path_factory.mktemp("own")
    root = fill(place / "pictures", {"cat": 12, "dog": 10, "a very long name of an owl": 5})
    out = place / "run"
    with pytest.MonkeyPatch.context() as patch:
        noise.without_pictures(patch.setattr)
        flags = ["--dataset", str(root), "--epochs", "1", "--shift", "2", "--flip"]
        assert train.main([*flags, "--threads", "1", "--out", str(out)]) == 0
    return root, out


def outcome(capsys, main, *arguments):
    capsys.readouterr()
    status = main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_run_keeps_its_kind_and_what_was_measured(trained):
    root, out = trained
    kind = json.loads((out / "environment.json").read_text())["kind"]
    assert kind["classes"] == sorted(os.listdir(root)) and kind["channels"] == 3
    config = (out / "config.toml").read_text()
    assert re.search(r"mean = \[0\.\d+, 0\.\d+, 0\.\d+\]", config)
    assert f'dataset = "{root}"' in config


@pytest.mark.parametrize(("model", "explored"), [(nn.Sequential(), True), (nn.Module(), False)])
def test_what_a_run_names_to_go_on_with_takes_it(model, explored):
    run = SimpleNamespace(directory="runs/a b")
    lines = train._next(SimpleNamespace(run=run, training=SimpleNamespace(model=model)))
    assert "evaluate 'runs/a b'" in lines[0]
    assert ["explore" in line for line in lines[1:]] == [True] * explored


def test_the_explorer_holds_the_pictures_of_a_run_in_colour(trained, capsys, tmp_path):
    where = tmp_path / "study"
    assert outcome(capsys, study.main, "explore", trained[1], "--out", where)[0] == 0
    contents = json.loads((where / "explore.json").read_text())
    height, width = contents["kind"]["height"], contents["kind"]["width"]
    assert contents["normalisation"]["size"] == [height, width]
    assert [len(contents["normalisation"][name]) for name in ("mean", "std")] == [3, 3]
    pixels = len(base64.b64decode(contents["pictures"]))
    assert pixels == len(contents["labels"]) * height * width * 3
    assert contents["uploads"]["box"] is None


def test_a_run_on_pictures_goes_on(trained, capsys):
    assert outcome(capsys, train.main, "--resume", trained[1])[0] == 0


def test_pictures_that_have_moved_are_named_anew(trained, capsys, tmp_path):
    root, out = trained
    moved, where = tmp_path / "moved", ("--limit-test", "5", "--out", tmp_path / "look")
    root.rename(moved)
    try:
        for main, *flags in ([train.main, "--resume", out], [evaluate.main, out, *where]):
            status, _, err = outcome(capsys, main, *flags)
            assert (status, err.count("\n")) == (1, 1)
            assert f"were in {root}, and that is no folder now" in err
        assert outcome(capsys, train.main, "--resume", out, "--dataset", moved)[0] == 0
        assert f'dataset = "{moved}"' in (out / "config.toml").read_text()
        assert outcome(capsys, evaluate.main, out, *where)[0] == 0
    finally:
        moved.rename(root)
    assert outcome(capsys, train.main, "--resume", out, "--dataset", root)[0] == 0


@pytest.mark.parametrize("dataset", ["silhouettes", "nosuch"])
def test_a_run_on_pictures_does_not_go_on_with_something_else(trained, capsys, dataset):
    status, _, err = outcome(capsys, train.main, "--resume", trained[1], "--dataset", dataset)
    assert (status, err.count("\n")) == (2, 1)
    assert "where a folder of pictures is now" in err or "there is no folder" in err


def test_a_run_does_not_go_on_with_a_picture_that_was_changed(trained, capsys):
    root, out = trained
    path = root / "cat" / "cat3.png"
    before = path.read_bytes()
    path.write_bytes((root / "cat" / "cat4.png").read_bytes())
    try:
        status, _, err = outcome(capsys, train.main, "--resume", out)
    finally:
        path.write_bytes(before)
    assert (status, err.count("\n")) == (1, 1)
    assert "as many images as the run was begun with, but not the same" in err


def test_a_run_does_not_go_on_with_other_classes(trained, capsys, tmp_path):
    root, out = trained
    (root / "cat").rename(root / "cow")
    try:
        status, _, err = outcome(capsys, train.main, "--resume", out)
    finally:
        (root / "cow").rename(root / "cat")
    assert (status, err.count("\n")) == (1, 1)
    assert "'cat', and not 'cow'" in err


def test_a_model_alone_is_evaluated_as_its_run_is(trained, capsys, tmp_path):
    _, out = trained
    alone = tmp_path / "mine.safetensors"
    alone.write_bytes((out / "model.safetensors").read_bytes())
    expected = outcome(capsys, evaluate.main, out, "--json", "--out", tmp_path / "a")
    got = outcome(capsys, evaluate.main, alone, "--json", "--out", tmp_path / "b")
    assert got[:2] == expected[:2] and got[0] == 0
    assert len(json.loads(got[1])["classes"]) == 3
    assert (tmp_path / "b" / "mistakes.png").exists()


def test_all_pictures_of_another_folder_are_for_testing(trained, capsys, tmp_path):
    root, out = trained
    other = fill(tmp_path / "other", dict.fromkeys(os.listdir(root), 4), size=(30, 20), mode="L")
    status, text, _ = outcome(
        capsys, evaluate.main, out, "--dataset", other, "--json", "--out", tmp_path / "look"
    )
    assert (status, json.loads(text)["images"]) == (0, 12)


@pytest.fixture
def evaluated(trained, capsys, tmp_path):
    """What an evaluation of the run says of a folder, a copy of its own that `change` was made to.

    That is the status, the figures as JSON, and stderr but for the line on pictures that are drawn.
    """
    root, out = trained

    def call(change=None, *flags, run=out):
        copied = tmp_path / "copied"
        shutil.copytree(root, copied, dirs_exist_ok=True)
        if change is not None:
            change(copied)
        flags = (*(flags or ("--dataset", copied)), "--json", "--out", tmp_path / "look")
        status, text, err = outcome(capsys, evaluate.main, run, *flags)
        said, _, _ = err.partition("Pictures:")  # the last, in lines as long as the terminal's
        return status, json.loads(text) if text else None, said.strip()

    return call


def held_out(root):
    """The pictures of a folder of classes alone that are for testing there."""
    return [path for path, _ in load(root)[0].test.samples]


def renamed(root):
    for i, path in enumerate(sorted(root.glob("*/*.png"))):
        path.rename(path.with_name(f"{'zyxw'[i % 4]}{i}.png"))


def sorted_out(root):
    """The same pictures in folders for training and for testing."""
    test = held_out(root)
    for path in root.glob("*/*.png"):
        part = "test" if str(path) in test else "train"
        (root / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(root / part / path.parent.name / path.name)
    for path in root.iterdir():
        if path.name not in ("train", "test"):
            path.rmdir()


@pytest.mark.parametrize("change", [None, renamed, sorted_out])
def test_pictures_that_were_trained_on_are_no_test_wherever_they_lie_now(
    trained, evaluated, capsys, tmp_path, change
):
    status, expected, _ = evaluated(None, "--dataset", trained[0])
    assert (status, expected["images"]) == (0, len(held_out(trained[0]))), expected
    status, got, said = evaluated(change)
    assert (status, said) == (0, "")
    assert (got["accuracy"], got["images"]) == (expected["accuracy"], expected["images"])
    assert got["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_a_limit_takes_the_same_first_pictures_where_they_have_moved(trained, evaluated):
    flags = ("--limit-test", "3", "--dataset")
    assert evaluated(None, *flags, trained[0]) == evaluated(None, *flags, trained[0])
    copied = Path(trained[0]).parent / "elsewhere"
    shutil.copytree(trained[0], copied)
    assert evaluated(None, *flags, copied) == evaluated(None, *flags, trained[0])


def gets_more(root):
    for i in range(7):
        draw(root / "cat" / f"new{i}.png", seed=9000 + i)


def loses_a_test(root):
    os.remove(held_out(root)[0])


def loses_a_training(root):
    path, *_ = (p for p in sorted(root.glob("cat/*")) if str(p) not in held_out(root))
    path.unlink()


@pytest.mark.parametrize(
    ("change", "tested", "said"),
    [
        (gets_more, 12, "5 of the 5 for testing are there, and 7 new pictures; 22 that were for"),
        (loses_a_test, 4, "4 of the 5 for testing are there, and 0 new pictures; 22 that were for"),
        (loses_a_training, 5, ""),
    ],
)
def test_a_folder_that_has_changed_is_tested_without_what_was_trained_on(
    evaluated, change, tested, said
):
    status, got, err = evaluated(change)
    assert (status, got["images"]) == (0, tested)
    assert said in err and err.count("\n") == 0 and bool(err) == bool(said)


def test_the_run_s_own_folder_is_no_other_if_it_has_changed(trained, evaluated):
    root, _ = trained
    added = [root / "dog" / f"added{i}.png" for i in range(9)]
    for i, path in enumerate(added):
        draw(path, seed=8000 + i)
    try:
        status, got, said = evaluated(None, "--skip-broken")
    finally:
        for path in added:
            path.unlink()
    assert (status, got["images"]) == (0, 14)
    assert "and 9 new pictures; 22 that were for training are left out" in said


def test_a_folder_of_nothing_but_what_was_trained_on_is_refused(evaluated):
    def without_tests(root):
        for path in held_out(root):
            os.remove(path)

    status, _, said = evaluated(without_tests)
    assert status == 1 and "the network was trained on all of these pictures" in said


def test_a_model_that_does_not_say_what_it_was_trained_on_is_tested_on_test_folders_alone(
    trained, evaluated, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(trained[1], run)
    model = run / "model.safetensors"
    minicnn.save(minicnn.load(model), model)  # as another program would
    status, _, said = evaluated(run=run)
    assert status == 1 and "does not say which of these pictures it was trained on" in said
    assert evaluated(sorted_out, run=run)[0] == 0


def test_a_training_that_begins_with_what_knows_the_test_pictures_says_so(
    trained, capsys, tmp_path, monkeypatch
):
    noise.without_pictures(monkeypatch.setattr)
    root, run = tmp_path / "pictures", trained[1]
    shutil.copytree(trained[0], root)
    flags = ("--dataset", root, "--init-from", run, "--epochs", "1", "--threads", "1", "--out")
    status, _, err = outcome(capsys, train.main, *flags, tmp_path / "same")
    assert status == 0 and "too good" not in err
    gets_more(root)
    both = {*split.marks(ImageFolder(trained[0]))} - {*split.marks(load(trained[0])[0].test)}
    n = len(both & {*split.marks(load(root)[0].test)})
    assert n > 0
    status, _, err = outcome(capsys, train.main, *flags, tmp_path / "grown")
    assert status == 0
    assert f"{n} of the 6 test pictures are among those that {run}" in err


def test_images_held_back_are_those_of_the_training_or_refused(trained, capsys, tmp_path):
    root, run = tmp_path / "pictures", tmp_path / "run"
    shutil.copytree(trained[0], root)
    flags = ("--dataset", root, "--epochs", "1", "--threads", "1", "--validation", "6")
    with pytest.MonkeyPatch.context() as patch:
        noise.without_pictures(patch.setattr)
        assert outcome(capsys, train.main, *flags, "--out", run)[0] == 0
    look = ("--validation", "--json", "--out", tmp_path / "look")
    assert outcome(capsys, evaluate.main, run, *look)[0] == 0
    for change in (lambda: gets_more(root), lambda: [p.unlink() for p in root.glob("*/new*")]):
        change()
        loses_a_training(root)
        status, _, err = outcome(capsys, evaluate.main, run, *look)
        assert (status, err.count("\n")) == (1, 1)
        assert "which images it held back can't be told" in err


def test_a_folder_of_other_classes_is_refused(trained, capsys, tmp_path):
    other = fill(tmp_path / "other", {"cat": 2, "dog": 2})
    status, _, err = outcome(capsys, evaluate.main, trained[1], "--dataset", other)
    assert (status, err.count("\n")) == (1, 1)
    assert "3 classes, colour, 16×16, and not 2 classes" in err


def test_figures_of_long_names_fit_80_columns(trained, capsys, tmp_path):
    _, text, _ = outcome(capsys, evaluate.main, trained[1], "--out", tmp_path)
    assert max(map(len, text.splitlines())) <= 80


def test_a_picture_is_answered_with_the_run_s_classes(trained, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "wide.gif", size=(60, 20), mode="P")
    status, text, err = outcome(capsys, predict.main, trained[1], "wide.gif")
    assert status == 0
    assert "scaled to cover 16×16 and cut to that, in colour" in err
    assert all(name in text for name in os.listdir(trained[0]))
    assert max(map(len, text.splitlines())) <= 80


def test_a_picture_of_the_test_set_gets_the_answer_that_evaluation_gives_it(
    trained, capsys, tmp_path
):
    root, out = trained
    data, _ = datasets.load(Preset(dataset=str(root)))
    files = [path for path, _ in data.test.samples]
    _, text, _ = outcome(capsys, predict.main, out, *files, "--json")
    said = [each["class"] for each in json.loads(text)]
    right = sum(a == data.kind.classes[b] for a, b in zip(said, data.test.targets, strict=True))
    _, text, _ = outcome(capsys, evaluate.main, out, "--json", "--out", tmp_path)
    assert right / len(files) == json.loads(text)["accuracy"]


@pytest.mark.parametrize("name", ["classmaps", "filters"])
def test_studies_of_a_run_know_its_classes_and_colours(trained, capsys, tmp_path, name):
    root, out = trained
    flags = ["--limit-test", "5"] if name == "classmaps" else []
    status, text, err = outcome(capsys, study.main, name, out, "--out", tmp_path / "look", *flags)
    assert status == 0 or "not one test image is right" in err
    if name == "classmaps":
        assert any(each in text for each in os.listdir(root))


@pytest.mark.parametrize(
    ("name", "flags"),
    [("compare", ["--seconds", "0.1"]), ("ablate", ["--two-steps", "--dense-head", "--epochs", 1])],
)
def test_studies_that_train_take_any_pictures(trained, capsys, tmp_path, name, flags):
    root, _ = trained
    where = ("--dataset", root, "--out", tmp_path / "look")
    status, text, err = outcome(capsys, study.main, name, *where, *flags)
    assert status == 0, err
    assert "pictures: 22 images" in text
    rows = json.loads((tmp_path / "look" / f"{name}.json").read_text())["rows"]
    assert all(row["parameters"] > 1000 for row in rows)
    assert ("96 → 17 → 3" in text) == (name == "ablate")


@pytest.mark.parametrize("name", ["compare", "ablate"])
def test_studies_that_train_leave_out_broken_pictures_if_asked_to(
    trained, capsys, tmp_path, monkeypatch, name
):
    root = tmp_path / "broken"
    shutil.copytree(trained[0], root)
    (root / "cat" / "bad.png").write_bytes(b"")
    flags = ("--dataset", root, "--out", tmp_path / "look")
    status, _, err = outcome(capsys, study.main, name, *flags)
    assert (status, err.count("\n")) == (2, 1) and "--skip-broken" in err

    def stop(*_):
        raise Failure("so far")

    monkeypatch.setattr("nin.study.trial.train", stop)
    monkeypatch.setattr("nin.study.trial.step_seconds", lambda *_: 1)
    _, _, err = outcome(capsys, study.main, name, *flags, "--skip-broken")
    assert "so far" in err


# --- other data sets -----------------------------------------------------------------------------


def test_the_test_images_must_be_of_the_network_s_kind(tmp_path):
    fill(tmp_path, {"cat": 2, "dog": 3})
    kind = Kind(("cat", "cow"), 3, 16, 16)
    with pytest.raises(Failure, match="'cow', and not 'dog'"):
        datasets.load_test(Preset(dataset=str(tmp_path)), kind)


@pytest.mark.parametrize("size", [0, 24])
@pytest.mark.parametrize("train", [True, False])
def test_shifts_and_sizes_are_of_the_images_own(size, train):
    from minicnn.random import Generator

    preset = replace(PRESETS["cifar"], mean=0.5, std=0.25, image_size=size)
    kind = Kind(("a", "b"), 3, 20, 30)
    images = np.zeros((2, 20, 30, 3), np.uint8)
    shape = preset.transform(train, kind).batch(images, Generator()).shape
    assert shape == (2, 3, *((size, size) if size else (20, 30)))


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """An archive in CIFAR-10's format, with 24 images, and the directory it lies in."""
    content = tar(CIFAR10.folder, parts(CIFAR10))
    monkeypatch.setattr(CIFAR10, "images", {True: 4, False: 4})
    monkeypatch.setattr(CIFAR10, "archive", published(CIFAR10.archive.name, content))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(CIFAR10, "mirrors", ("http://127.0.0.1:9/",))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / CIFAR10.archive.name).write_bytes(content)
    return tmp_path / "data"


def test_the_preset_cifar_trains_on_an_archive_of_its_format(cifar, capsys, tmp_path):
    out = tmp_path / "run"
    flags = ["--preset", "cifar", "--data-dir", cifar, "--epochs", "1", "--limit-test", "2"]
    status, text, err = outcome(capsys, train.main, *flags, "--limit-train", "5", "--out", out)
    assert status == 0, err
    assert "CIFAR-10: 5 training and 2 test images" in err
    assert "10 classes, colour, 32×32" in err
    assert "966,986 parameters" in err
    draw(tmp_path / "car.jpg", size=(64, 48))
    status, text, err = outcome(capsys, predict.main, out, tmp_path / "car.jpg")
    assert status == 0 and "automobile" in text and "cover 32×32" in err


def test_an_archive_that_is_cut_short_is_one_line(cifar, capsys, tmp_path):
    path = cifar / CIFAR10.archive.name
    path.write_bytes(path.read_bytes()[:-9])
    flags = ["--dataset", "cifar-10", "--data-dir", cifar, "--out", tmp_path / "run"]
    status, _, err = outcome(capsys, train.main, *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert CIFAR10.archive.name in err


@pytest.mark.parametrize(
    ("dataset", "large"),
    [("fashion-mnist", 28), ("mnist", 20), ("kmnist", 28), ("emnist-letters", 24)],
)
def test_a_picture_of_a_sign_is_made_as_large_as_those_of_its_data_set(tmp_path, dataset, large):
    page = np.full((90, 60), 255, np.uint8)
    page[20:70, 20:30] = 0  # a bar, upright
    Image.fromarray(page).save(tmp_path / "bar.png")
    kind = Kind(tuple("abc"), 1, 28, 28)
    image = preparation(dataset, kind).read(tmp_path / "bar.png")
    tall, wide = ((image > 128).any(axis=a).sum() for a in (1, 0))
    if dataset.startswith("emnist"):  # whose rows and columns are exchanged
        tall, wide = wide, tall
    assert (tall, wide) == (large, round(large / 5))


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_with_a_name_has_a_title_and_is_no_path(tmp_path, monkeypatch, dataset):
    (tmp_path / dataset).mkdir()  # a folder of that name is reached by ./NAME
    monkeypatch.chdir(tmp_path)
    assert is_name(dataset) and not is_name(f"./{dataset}")
    assert title(dataset).lower().replace(" ", "-") == dataset
