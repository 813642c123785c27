"""MNIST's relatives and the CIFARs on small stand-ins of the same format, whole and damaged.

Each class is given the counts and checksums of its stand-in; all else is as with the real files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from minicnn.arguments import ArgumentError
from minicnn.random import Generator
from minicnn.vision import transforms as T
from minicnn.vision.datasets import (
    CIFAR10,
    CIFAR100,
    EMNIST,
    KMNIST,
    MNIST,
    DatasetError,
    DatasetNotFound,
    FashionMNIST,
)
from minicnn.vision.datasets.checksum import Published
from minicnn.vision.datasets.mnist import IdxFile, Split

pytestmark = pytest.mark.cpu


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty directory, and an empty cache; no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for kind in (MNIST, KMNIST, EMNIST, CIFAR10, CIFAR100):
        monkeypatch.setattr(kind, "mirrors", ("http://127.0.0.1:9/",))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A function that serves a directory in place of a data set's second mirror."""
    servers = []

    def start(kind, directory):
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=directory))
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        servers.append((http, thread))
        here = f"http://127.0.0.1:{http.server_port}/"
        monkeypatch.setattr(kind, "mirrors", ("http://127.0.0.1:9/", here))

    yield start
    for http, thread in servers:
        http.shutdown()
        thread.join()
        http.server_close()


def published(name, content):
    return Published(name, len(content), hashlib.md5(content).hexdigest())


# --- MNIST and KMNIST ----------------------------------------------------------------------------

NAMES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
ARRAYS = (pixels(20, 28, 28), np.arange(20, dtype="uint8") % 10, pixels(9, 28, 28), pixels(9) % 10)


@pytest.fixture(params=[MNIST, KMNIST])
def kind(request, monkeypatch):
    """MNIST, known by its content, and KMNIST, known by its gzipped files."""
    files = []
    for name, array in zip(NAMES, ARRAYS, strict=True):
        content = idx(array)
        packed = gzip.compress(content, mtime=0)
        digest = (
            {"md5": hashlib.md5(packed).hexdigest()}
            if request.param is KMNIST
            else {"sha256": hashlib.sha256(content).hexdigest()}
        )
        files.append(IdxFile(f"{name}-ubyte", array.shape, **digest))
    monkeypatch.setattr(request.param, "files", {True: files[:2], False: files[2:]})
    return request.param


def fill(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, ARRAYS, strict=True):
        packed = gzip.compress(idx(array), mtime=0)
        (directory / f"{name}-ubyte.gz").write_bytes(packed)
    return directory


@pytest.mark.parametrize("inside", ["", "raw"])
@pytest.mark.parametrize("train", [True, False])
def test_idx_sets_are_found_where_users_keep_them(root, kind, inside, train):
    place = fill(root / kind.__name__ / "raw" if inside else root)
    data = kind(root, train)
    assert np.array_equal(data.data.numpy(), ARRAYS[0 if train else 2])
    assert np.array_equal(data.targets.numpy(), ARRAYS[1 if train else 3])
    assert data.source == str(place)
    assert data.classes == list(kind.classes)
    assert f"Dataset {kind.__name__}\n" in repr(data)
    assert f"    Split: {'Train' if train else 'Test'}" in repr(data)


def test_a_variable_names_the_place(root, kind, monkeypatch):
    place = fill(root / "elsewhere")
    monkeypatch.setenv(f"{kind.name.upper()}_DIR", str(place))
    assert kind(root).source == str(place)


@pytest.mark.parametrize("damage", ["short", "changed", "another's"])
def test_a_damaged_idx_file_is_refused_in_one_line(root, kind, damage):
    path = fill(root) / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    other = gzip.compress(idx(pixels(20, 28, 28, seed=9)), mtime=0)
    middle = len(content) // 2
    path.write_bytes(
        {
            "short": content[:middle],
            "changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "another's": other,
        }[damage]
    )
    with pytest.raises(DatasetError, match=f"{path}: ") as caught:
        kind(root)
    assert "\n" not in str(caught.value)


def test_an_unpacked_file_that_nothing_verifies_is_not_taken(root, kind):
    for name, array in zip(NAMES, ARRAYS, strict=True):
        (root / f"{name}-ubyte").write_bytes(idx(array))
    if kind is MNIST:
        assert len(kind(root)) == 20
    else:
        with pytest.raises(DatasetNotFound, match=r"no train-images-idx3-ubyte\.gz in"):
            kind(root)


def test_the_second_mirror_is_asked_where_the_first_has_nothing(root, kind, serve, tmp_path):
    serve(kind, fill(tmp_path / "served"))
    data = kind(root, download=True)
    assert data.source == str(tmp_path / "xdg" / "minicnn" / kind.name)
    assert len(kind(root)) == 20


def test_where_no_mirror_has_it_the_line_names_each(root, kind, serve, tmp_path):
    serve(kind, tmp_path)
    with pytest.raises(DatasetNotFound) as caught:
        kind(root, download=True)
    assert str(caught.value).count("can't be downloaded: ") == 2


def test_the_real_files_have_a_checksum_for_each_file():
    for kind in (MNIST, FashionMNIST, KMNIST):
        digests = [d for files in kind.files.values() for f in files for d in (f.sha256 or f.md5,)]
        assert len(set(digests)) == 4
        assert len(kind.classes) == 10


# --- EMNIST --------------------------------------------------------------------------------------


@pytest.fixture
def emnist(root, monkeypatch):
    """The archive, and a function that makes it anew with other members."""
    small = {
        name: Split(6, 4, EMNIST.splits[name].classes) for name in ("letters", "digits", "balanced")
    }
    monkeypatch.setattr(EMNIST, "splits", small)

    def make(**changed):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for split in small:
                for part, n in (("train", 6), ("test", 4)):
                    start = f"emnist-{split}-{part}"
                    labels = np.arange(n, dtype="uint8") + (split == "letters")
                    members = {
                        f"gzip/{start}-images-idx3-ubyte.gz": idx(pixels(n, 28, 28, seed=n)),
                        f"gzip/{start}-labels-idx1-ubyte.gz": idx(changed.get(split, labels)),
                    }
                    for name, content in members.items():
                        archive.writestr(name, gzip.compress(content, mtime=0))
        content = file.getvalue()
        monkeypatch.setattr(EMNIST, "archive", published("gzip.zip", content))
        (root / "gzip.zip").write_bytes(content)
        return root / "gzip.zip"

    make()
    return make


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("split", "first"), [("letters", 1), ("digits", 0), ("balanced", 0)])
def test_emnist_is_read_from_its_archive(root, emnist, split, first, train):
    data = EMNIST(root, split, train)
    n = 6 if train else 4
    assert np.array_equal(data.data.numpy(), pixels(n, 28, 28, seed=n))
    assert data.targets.tolist() == list(range(first, n + first))
    assert data.classes[data.targets[0].item()] == ("a" if split == "letters" else "0")


def test_emnist_has_the_published_splits():
    assert {name: len(split.classes) for name, split in EMNIST.splits.items()} == {
        "byclass": 62,
        "bymerge": 47,
        "balanced": 47,
        "letters": 27,  # with N/A
        "digits": 10,
        "mnist": 10,
    }
    assert sum(EMNIST.splits["byclass"][:2]) == 814_255
    assert sum(EMNIST.splits["letters"][:2]) == 145_600


def test_a_single_file_of_emnist_is_used_too(root, emnist):
    path = emnist()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(root)
    path.unlink()
    (root / "EMNIST").mkdir()
    os.rename(root / "gzip", root / "EMNIST" / "raw")
    assert len(EMNIST(root, "digits")) == 6


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-9], "is cut short: 9 bytes are missing"),
        (lambda content: content + b"x", r"has [\d,]+ bytes, expected"),
        (lambda content: content[:99] + b"?" + content[100:], "is changed: MD5"),
    ],
)
def test_a_damaged_archive_of_emnist_is_refused(root, emnist, change, message, download):
    path = emnist()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DatasetError, match=f"^{path}: {message}"):
        EMNIST(root, "digits", download=download)


def test_a_member_that_is_missing_is_refused(root, emnist, monkeypatch):
    emnist()
    monkeypatch.setitem(EMNIST.splits, "mnist", Split(6, 4, EMNIST.splits["digits"].classes))
    with pytest.raises(DatasetError, match=r"gzip\.zip: holds no gzip/emnist-mnist-train-images"):
        EMNIST(root, "mnist")


def test_another_split_is_refused_by_name(root):
    with pytest.raises(ArgumentError, match=r"EMNIST: split must be one of 'byclass'.*got 'all'"):
        EMNIST(root, "all")


def test_emnist_is_downloaded_and_kept(root, emnist, serve, tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    os.rename(emnist(), served / "gzip.zip")
    serve(EMNIST, served)
    assert len(EMNIST(root, "digits", download=True)) == 6
    assert os.listdir(tmp_path / "xdg" / "minicnn" / "emnist") == ["gzip.zip"]
    assert len(EMNIST(root, "letters", train=False)) == 4


def test_a_label_beyond_the_classes_is_refused(root, emnist):
    emnist(digits=np.full(6, 11, "uint8"))
    with pytest.raises(DatasetError, match="a label is 11, of 10 classes"):
        EMNIST(root, "digits")


# --- CIFAR ---------------------------------------------------------------------------------------

FINE = [f"fine_{i}" for i in range(100)]
COARSE = [f"coarse_{i}" for i in range(20)]
TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def records(n, *classes, seed=0):
    """n records: labels, then three planes of 32×32."""
    rng = np.random.default_rng(seed)
    labels = [rng.integers(0, c, (n, 1)) for c in classes]
    return np.concatenate([*labels, rng.integers(0, 256, (n, 3072))], 1).astype("uint8")


def parts(kind):
    """The files of the stand-in: four images in each."""
    if kind is CIFAR10:
        names = [*CIFAR10.batches[True], *CIFAR10.batches[False]]
        files = {name: records(4, 10, seed=i).tobytes() for i, name in enumerate(names)}
        return files | {"batches.meta.txt": "\n".join([*TEN, "", ""]).encode()}
    return {
        "train.bin": records(4, 20, 100, seed=1).tobytes(),
        "test.bin": records(4, 20, 100, seed=2).tobytes(),
        "fine_label_names.txt": "\n".join([*FINE, ""]).encode(),
        "coarse_label_names.txt": "\n".join([*COARSE, ""]).encode(),
    }


def tar(folder, files) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **files}.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture(params=[CIFAR10, CIFAR100])
def cifar(request, root, monkeypatch):
    """The class, and a function that puts an archive of some files in place."""
    kind = request.param
    monkeypatch.setattr(kind, "images", {True: 4, False: 4})

    def put(files, place=root):
        content = files if isinstance(files, bytes) else tar(kind.folder, files)
        monkeypatch.setattr(kind, "archive", published(kind.archive.name, content))
        place.mkdir(parents=True, exist_ok=True)
        (place / kind.archive.name).write_bytes(content)

    return kind, put


def unpack(kind, root, files):
    (root / kind.folder).mkdir()
    for name, content in files.items():
        (root / kind.folder / name).write_bytes(content)


@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize("train", [True, False])
def test_cifar_is_read_from_its_archive_or_its_folder(root, cifar, form, train):
    kind, put = cifar
    files = parts(kind)
    if form == "archive":
        put(files)
    else:
        unpack(kind, root, files)
    data = kind(root, train)
    raw = b"".join(files[name] for name in kind.batches[train])
    rows = np.frombuffer(raw, "uint8").reshape(-1, 3072 + len(kind.labels))
    planes = [[row[-3072:][1024 * c :][:1024] for c in range(3)] for row in rows]
    images = np.moveaxis(np.reshape(planes, (-1, 3, 32, 32)), 1, 3)
    assert np.array_equal(data.data.numpy(), images)
    assert data.targets.tolist() == rows[:, len(kind.labels) - 1].tolist()
    assert data.classes == (TEN if kind is CIFAR10 else FINE)
    if kind is CIFAR100:
        assert data.coarse_classes == COARSE
        assert data.coarse_targets.tolist() == rows[:, 0].tolist()
        assert data.part(slice(1, 3), None).coarse_targets.tolist() == rows[1:3, 0].tolist()
    assert data.source.startswith(str(root))
    image = T.ToTensor()(data[0][0])
    np.testing.assert_allclose(image.numpy(), rows[0, -3072:].reshape(3, 32, 32) / 255, rtol=1e-6)


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, -1])
def test_an_archive_that_is_cut_short_is_refused(root, cifar, cut):
    kind, put = cifar
    put(parts(kind))
    path = root / kind.archive.name
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content)) if isinstance(cut, float) else cut])
    with pytest.raises(DatasetError, match=f"^{path}: is cut short: [0-9,]+ bytes are missing$"):
        kind(root)


@pytest.mark.parametrize("place", [20, 0.3, 0.6, -1])
def test_an_archive_that_is_changed_is_refused(root, cifar, place):
    kind, put = cifar
    put(parts(kind))
    path = root / kind.archive.name
    content = bytearray(path.read_bytes())
    at = int(place * len(content)) if isinstance(place, float) else place
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"^{path}: is changed: MD5 [0-9a-f]+, expected "):
        kind(root)


def without(files, name):
    return {key: content for key, content in files.items() if key != name}


# What is wrong with a file of the archive, although the archive is the one that was published.
FAULTS = {
    "missing": (lambda files, name: without(files, name), "holds no .*{name}"),
    "short": (lambda files, name: {**files, name: files[name][:-1]}, "cut short: 1 bytes"),
    "long": (lambda files, name: {**files, name: files[name] + b"\0"}, "is no file of at most"),
    "label": (
        lambda files, name: {**files, name: b"\xff" + files[name][1:]},
        "a label in {name} is 255, of ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_in_an_archive_is_refused(root, cifar, fault):
    kind, put = cifar
    change, message = FAULTS[fault]
    name = kind.batches[True][-1]
    put(change(parts(kind), name))
    with pytest.raises(DatasetError, match=message.format(name=name)) as caught:
        kind(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_in_a_folder_is_refused(root, cifar, fault):
    kind, _ = cifar
    name = kind.batches[True][-1]
    unpack(kind, root, FAULTS[fault][0](parts(kind), name))
    with pytest.raises(DatasetError, match=name.replace(".", r"\.")) as caught:
        kind(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names", [b"one\ntwo\n", b"\n", b"\xff" * 10], ids=["two", "none", "no text"]
)
def test_a_list_of_other_classes_is_refused(root, cifar, names):
    kind, put = cifar
    list_name = next(reversed(kind.labels))
    put({**parts(kind), list_name: names})
    with pytest.raises(DatasetError, match=rf"{list_name} holds \d+ names, of"):
        kind(root)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar" * 999)],
    ids=["empty", "text", "no tar in it"],  # gzip writes the time
)
def test_what_is_no_archive_is_refused(root, cifar, content):
    kind, put = cifar
    put(content)
    with pytest.raises(DatasetError, match=r"is broken|holds no"):
        kind(root)


def test_links_in_an_archive_are_not_followed(root, cifar):
    kind, put = cifar
    name = kind.batches[True][0]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        link = tarfile.TarInfo(f"{kind.folder}/{name}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    put(file.getvalue())
    with pytest.raises(DatasetError, match=name):
        kind(root)


def test_an_archive_is_downloaded_and_a_broken_one_in_the_cache_replaced(
    root, cifar, serve, tmp_path
):
    kind, put = cifar
    put(parts(kind), tmp_path / "served")
    serve(kind, tmp_path / "served")
    kept = tmp_path / "xdg" / "minicnn" / kind.name
    kept.mkdir(parents=True)
    (kept / kind.archive.name).write_bytes(b"broken")
    with pytest.raises(DatasetError, match="cut short"):
        kind(root)
    assert kind(root, download=True).source == str(kept / kind.archive.name)
    assert os.listdir(kept) == [kind.archive.name]


def test_without_files_the_line_says_what_to_do(root, cifar):
    kind, _ = cifar
    variable = f"{kind.name.replace('-', '_').upper()}_DIR"
    with pytest.raises(DatasetNotFound, match=f"use download=True, or set {variable} to where"):
        kind(root)


def test_a_batch_of_cifar_goes_through_a_pipeline(root, cifar):
    kind, put = cifar
    put(parts(kind))
    pipeline = T.Compose([T.RandomCrop(32, padding=4), T.ToTensor(), T.Normalize(0.5, 0.5)])
    images, labels = kind(root, transform=pipeline).get_batch(np.arange(3), Generator())
    assert (images.shape, labels.shape) == ((3, 3, 32, 32), (3,))
