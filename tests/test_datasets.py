"""Reading IDX files that may be anything, and finding, verifying and downloading Fashion-MNIST.

The real files are read from Debian's package dataset-fashion-mnist. Everything else runs on a
stand-in of 20 training and 10 test images, whose files take the real ones' places in the table.
"""

import gzip
import hashlib
import os
import pwd
import re
import socket
import socketserver
import struct
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from minicnn.installing import how
from minicnn.random import Generator
from minicnn.utils.data import DataLoader
from minicnn.vision import transforms
from minicnn.vision.datasets import DatasetError, DatasetNotFound, FashionMNIST, download
from minicnn.vision.datasets.idx import read_idx
from minicnn.vision.datasets.mnist import IdxFile

pytestmark = pytest.mark.cpu
SHAPE = (20, 28, 28)
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array: np.ndarray) -> bytes:
    """The content of an IDX file of this uint8 array."""
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)


GOOD = idx(pictures(20))
CONTENT = {
    IMAGES: GOOD,
    LABELS: idx(np.arange(20, dtype=np.uint8) % 10),
    "t10k-images-idx3-ubyte": idx(pictures(10)),
    "t10k-labels-idx1-ubyte": idx(np.arange(10, dtype=np.uint8)),
}


# --- IDX files -----------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "pack"), [("a", bytes), ("a.gz", gzip.compress)])
def test_an_idx_file_is_read_gzipped_or_not(tmp_path, name, pack):
    array = read_idx(write(tmp_path / name, pack(GOOD)), SHAPE)
    np.testing.assert_array_equal(array, pictures(20))


def test_the_array_can_be_written_to(tmp_path):
    read_idx(write(tmp_path / "a", GOOD), SHAPE)[0] = 0


PACKED = gzip.compress(GOOD)
BAD_CRC = PACKED[:-8] + bytes(4) + PACKED[-4:]
BAD_LENGTH = PACKED[:-4] + bytes(4)
MIDDLE = len(PACKED) // 2
DAMAGED = PACKED[:12] + bytes([0xFF] * 8) + PACKED[20:]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a", b"", "ends early: 16 bytes are missing"),
        ("a", GOOD[:9], "ends early: 7 bytes are missing"),
        ("a", GOOD[:-1], "ends early: 1 bytes are missing"),
        ("a", GOOD + b"\0", "more bytes than the 15,696 expected"),
        ("a", b"\0\0\x08\x01" + GOOD[4:], "magic number 0x00000801, expected 0x00000803"),
        ("a", b"\0\0\x0d\x03" + GOOD[4:], "magic number 0x00000d03, expected 0x00000803"),
        ("a", PACKED, "magic number 0x1f8b"),
        ("a", GOOD[:4] + b"\xff" * 12 + GOOD[16:], r"shape \(4294967295, 4294967295, 4294967295\)"),
        ("a", idx(pictures(19)), r"shape \(19, 28, 28\), expected \(20, 28, 28\)"),
        ("a.gz", b"", "ends early: 16 bytes are missing"),
        ("a.gz", GOOD, "broken gzip data: Not a gzipped file"),
        ("a.gz", PACKED[:MIDDLE], "the gzip data ends early"),
        ("a.gz", PACKED[:-3], "the gzip data ends early"),
        ("a.gz", BAD_CRC, "broken gzip data: CRC check failed"),
        ("a.gz", BAD_LENGTH, "broken gzip data: Incorrect length"),
        ("a.gz", DAMAGED, "broken gzip data"),
        ("a.gz", PACKED + b"more", "broken gzip data: Not a gzipped file"),
        ("a.gz", PACKED + PACKED, "more bytes than the 15,696 expected"),
    ],
)
def test_a_broken_file_is_refused_for_what_is_wrong_with_it(tmp_path, name, content, complaint):
    with pytest.raises(DatasetError, match=complaint):
        read_idx(write(tmp_path / name, content), SHAPE)


def test_a_changed_byte_is_noticed_by_the_digest(tmp_path):
    changed = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
    with pytest.raises(DatasetError, match="SHA-256"):
        read_idx(write(tmp_path / "a", changed), SHAPE, hashlib.sha256(GOOD).hexdigest())


def test_an_error_is_one_line_that_names_the_file(tmp_path):
    path = write(tmp_path / "broken.gz", PACKED[:MIDDLE])
    with pytest.raises(DatasetError) as caught:
        read_idx(path, SHAPE)
    assert str(caught.value) == f"{path}: the gzip data ends early"


def test_a_file_that_is_not_there_is_an_error_of_the_same_kind(tmp_path):
    with pytest.raises(DatasetError, match="can't be read: No such file"):
        read_idx(tmp_path / "missing", SHAPE)


def test_a_gzip_bomb_is_not_decompressed(tmp_path):
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as file:
        file.write(GOOD)
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DatasetError, match="more bytes than"):
        read_idx(bomb, SHAPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_header_that_promises_much_reserves_no_memory(tmp_path):
    path = write(tmp_path / "a", GOOD[:4] + b"\xff" * 12 + GOOD[16:])
    tracemalloc.start()
    with pytest.raises(DatasetError, match="shape"):
        read_idx(path, SHAPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


# --- where Fashion-MNIST is looked for -----------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The stand-in in the table; directories of ours in place of Debian's and the user's cache."""
    places = {name: tmp_path / name for name in ("root", "named", "debian")}
    places["cache"] = tmp_path / "xdg" / "minicnn" / "fashion-mnist"
    places["cache"].parent.mkdir(parents=True)
    places["torchvision"] = places["root"] / "FashionMNIST" / "raw"
    shapes = {True: [SHAPE, (20,)], False: [(10, 28, 28), (10,)]}
    names = {True: (IMAGES, LABELS), False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
    table = {
        train: tuple(
            IdxFile(name, shape, hashlib.sha256(CONTENT[name]).hexdigest())
            for name, shape in zip(names[train], shapes[train], strict=True)
        )
        for train in (True, False)
    }
    monkeypatch.setattr(FashionMNIST, "files", table)
    monkeypatch.setattr(FashionMNIST, "elsewhere", (places["debian"],))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(FashionMNIST, "mirrors", ("http://127.0.0.1:9/",))  # nobody answers here
    monkeypatch.setenv("FASHION_MNIST_DIR", str(places["named"]))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return places


def fill(directory: Path, suffix: str = ".gz") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        packed = gzip.compress(content) if suffix else content
        (directory / f"{name}{suffix}").write_bytes(packed)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", ["root", "torchvision", "named", "debian", "cache"])
def test_the_files_are_found_gzipped_or_not_in_each_place(places, place, suffix):
    fill(places[place], suffix)
    assert FashionMNIST(places["root"]).source == str(places[place])


def test_the_places_are_searched_in_order(places):
    found = []
    for place in ["cache", "debian", "named", "torchvision", "root"]:
        fill(places[place])
        found.append(FashionMNIST(places["root"]).source)
    assert found == [str(places[p]) for p in ["cache", "debian", "named", "torchvision", "root"]]


def test_images_and_labels_may_lie_in_different_places(places):
    fill(places["root"])
    fill(places["debian"])
    (places["root"] / f"{LABELS}.gz").unlink()
    assert FashionMNIST(places["root"]).source == f"{places['root']} and {places['debian']}"


def test_an_empty_variable_is_not_the_current_directory(places, monkeypatch):
    fill(places["named"])
    monkeypatch.chdir(places["named"])
    monkeypatch.setenv("FASHION_MNIST_DIR", "")
    with pytest.raises(DatasetError, match="no train-images"):
        FashionMNIST(places["root"])


def test_root_may_begin_with_the_home_directory(places, monkeypatch):
    monkeypatch.setenv("HOME", str(places["root"].parent))
    fill(places["root"])
    assert FashionMNIST("~/root").source == str(places["root"])


def test_without_files_the_error_names_every_place(places):
    with pytest.raises(DatasetError) as caught:
        FashionMNIST(places["root"])
    assert all(str(place) in str(caught.value) for place in places.values())


@pytest.mark.parametrize(
    "way", ["download=True", "apt-get install dataset-fashion-mnist", "set FASHION_MNIST_DIR"]
)
def test_without_files_the_error_says_what_to_do(places, way):
    with pytest.raises(DatasetError, match=f"^.*{way}.*$"):
        FashionMNIST(places["root"])


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("place", ["root", "torchvision", "named", "debian"])
def test_a_broken_file_is_not_passed_over(places, place, download):
    fill(places["cache"])
    fill(places[place])
    broken = write(places[place] / f"{IMAGES}.gz", PACKED[:MIDDLE])
    with pytest.raises(DatasetError, match=f"{broken}: the gzip data ends early"):
        FashionMNIST(places["root"], download=download)


def test_a_broken_cached_file_is_an_error_without_download(places):
    fill(places["cache"])
    broken = write(places["cache"] / f"{IMAGES}.gz", PACKED[:MIDDLE])
    with pytest.raises(DatasetError, match=f"{broken}: the gzip data ends early"):
        FashionMNIST(places["root"])


# --- the download --------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(places, tmp_path, monkeypatch):
    """A directory served at the data set's address."""
    directory = tmp_path / "served"
    fill(directory)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=directory))
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(FashionMNIST, "mirrors", (f"http://127.0.0.1:{http.server_port}/",))
    yield directory
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_download_goes_into_the_cache(places, server):
    assert FashionMNIST(places["root"], download=True).source == str(places["cache"])


def test_a_downloaded_file_is_used_from_then_on(places, server):
    first = FashionMNIST(places["root"], download=True)
    again = FashionMNIST(places["root"])
    np.testing.assert_array_equal(first.data.array, again.data.array)


def test_a_download_leaves_nothing_but_the_files(places, server):
    FashionMNIST(places["root"], download=True)
    assert sorted(os.listdir(places["cache"])) == [f"{IMAGES}.gz", f"{LABELS}.gz"]


def test_nothing_is_downloaded_that_is_there(places):
    fill(places["root"])
    assert FashionMNIST(places["root"], download=True).source == str(places["root"])


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("content", [PACKED[:MIDDLE], BAD_CRC, gzip.compress(GOOD + b"x"), b""])
def test_a_broken_cached_file_is_downloaded_again(places, server, suffix, content):
    places["cache"].mkdir()
    write(places["cache"] / f"{IMAGES}{suffix}", content)
    images = FashionMNIST(places["root"], download=True).data.array
    np.testing.assert_array_equal(images, pictures(20))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_replaced_cached_file_is_good_from_then_on(places, server, suffix):
    places["cache"].mkdir()
    write(places["cache"] / f"{IMAGES}{suffix}", PACKED[:MIDDLE])
    FashionMNIST(places["root"], download=True)
    assert len(FashionMNIST(places["root"])) == 20


@pytest.fixture
def bad_server(places, server):
    write(server / f"{IMAGES}.gz", gzip.compress(idx(pictures(20) ^ 1)))
    return server


def test_a_download_of_something_else_is_refused(places, bad_server):
    with pytest.raises(DatasetError, match=r"http://.*\.gz: what came is not the data set: SHA-25"):
        FashionMNIST(places["root"], download=True)


def test_a_refused_download_leaves_nothing_behind(places, bad_server):
    with pytest.raises(DatasetError):
        FashionMNIST(places["root"], download=True)
    assert os.listdir(places["cache"]) == []


def test_a_download_that_is_too_large_is_broken_off(places, server):
    write(server / f"{IMAGES}.gz", bytes(1 << 20))
    with pytest.raises(DatasetError, match="the server sends more than 16,704 bytes"):
        FashionMNIST(places["root"], download=True)


def test_a_missing_page_is_an_error_with_its_address(places, server):
    (server / f"{IMAGES}.gz").unlink()
    with pytest.raises(DatasetError, match=rf"^http://127.*{IMAGES}\.gz: can't be downloaded: 404"):
        FashionMNIST(places["root"], download=True)


def test_no_connection_is_an_error_of_one_line(places):
    with pytest.raises(DatasetError) as caught:
        FashionMNIST(places["root"], download=True)
    message = str(caught.value)
    assert message.startswith(f"http://127.0.0.1:9/{IMAGES}.gz: can't be downloaded: ")
    assert "\n" not in message
    assert "object at 0x" not in message


def test_without_pooch_a_download_says_what_to_do(places, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DatasetError) as caught:
        FashionMNIST(places["root"], download=True)
    message = str(caught.value)
    assert re.search(rf"{IMAGES}\.gz: can't be downloaded: .*pooch", message)
    assert f"; {how()}, or put the file into " in message
    assert message.endswith(f" into {places['cache']}")
    assert "\n" not in message


def test_a_server_that_says_nothing_is_given_up(places, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            FashionMNIST, "mirrors", (f"http://127.0.0.1:{silent.getsockname()[1]}/",)
        )
        monkeypatch.setattr(download, "TIMEOUT", 0.2)
        with pytest.raises(DatasetError, match="can't be downloaded: Read timed out"):
            FashionMNIST(places["root"], download=True)


class _Drip(socketserver.BaseRequestHandler):
    """A server that sends a byte now and then, of its headers or of what follows them."""

    begun = b""

    def handle(self):
        self.request.recv(1 << 16)
        with suppress(OSError):
            self.request.sendall(self.begun)
            for _ in range(100):
                self.request.sendall(b"H")
                time.sleep(0.05)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_server_that_drips_is_given_up(places, monkeypatch, begun):
    handler = type("Handler", (_Drip,), {"begun": begun})
    monkeypatch.setattr(download, "DEADLINE", 0.3)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(
            FashionMNIST, "mirrors", (f"http://127.0.0.1:{server.server_address[1]}/",)
        )
        start = time.monotonic()
        with pytest.raises(DatasetNotFound, match=r"it takes longer than 0\.3 seconds"):
            FashionMNIST(places["root"], download=True)
        assert time.monotonic() - start < 3
        server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: -5\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nabc",
        b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: http://[x/\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.0 404 \x1b[31m\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)
def test_whatever_a_server_answers_is_an_error_of_one_line(places, monkeypatch, answer):
    class Answering(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(1 << 16)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(
            FashionMNIST, "mirrors", (f"http://127.0.0.1:{server.server_address[1]}/",)
        )
        with pytest.raises(DatasetError) as caught:
            FashionMNIST(places["root"], download=True)
        server.shutdown()
    assert "\n" not in str(caught.value)
    assert os.listdir(places["cache"]) == []


@pytest.mark.parametrize("place", ["root", "debian"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, partial(os.symlink, "nowhere")])
def test_what_stands_in_a_files_place_is_refused_and_not_waited_for(places, place, make):
    fill(places[place])
    (places[place] / f"{IMAGES}.gz").unlink()
    make(places[place] / f"{IMAGES}.gz")
    with pytest.raises(DatasetError, match=rf"{IMAGES}\.gz: can't be read: "):
        FashionMNIST(places["root"])


def test_a_label_outside_the_classes_is_refused(places, monkeypatch):
    fill(places["root"])
    content = idx(np.full(20, 10, np.uint8))
    (places["root"] / f"{LABELS}.gz").write_bytes(gzip.compress(content))
    images, labels = FashionMNIST.files[True]
    labels = labels._replace(sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(FashionMNIST.files, True, (images, labels))
    with pytest.raises(DatasetError, match="a label is 10, of 10 classes"):
        FashionMNIST(places["root"])


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home directory: no HOME, and no entry in passwd."""

    def unknown(_):
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_without_a_home_directory_the_data_is_found_elsewhere(places, homeless):
    fill(places["debian"])
    assert FashionMNIST("~/data").source == str(places["debian"])


def test_without_a_home_directory_a_download_says_what_to_do(places, homeless, monkeypatch):
    monkeypatch.chdir(places["root"].parent)
    with pytest.raises(DatasetNotFound, match="no home directory with a cache; set XDG_CACHE_HOME"):
        FashionMNIST("data", download=True)


def test_without_stderr_a_download_is_quiet(places, server, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert FashionMNIST(places["root"], download=True).source == str(places["cache"])


def test_a_cache_that_cannot_be_made_is_an_error(places, server):
    write(places["cache"], b"a file where the directory should be")
    with pytest.raises(DatasetError, match=r"can't be downloaded: \[Errno 17\] File exists"):
        FashionMNIST(places["root"], download=True)


# --- samples and batches -------------------------------------------------------------------------


@pytest.fixture
def root(places):
    fill(places["root"])
    return places["root"]


RNG = Generator()


def test_a_sample_is_an_image_tensor_and_an_int(root):
    image, label = FashionMNIST(root)[3]
    assert (image.shape, image.dtype, label, type(label)) == ((28, 28), np.uint8, 3, int)


def test_train_chooses_the_set(root):
    assert [len(FashionMNIST(root, train)) for train in (True, False)] == [20, 10]


def test_targets_are_int64(root):
    targets = FashionMNIST(root).targets
    assert (targets.shape, targets.dtype) == ((20,), np.int64)


def test_the_transform_makes_the_image(root):
    image, _ = FashionMNIST(root, True, transforms.ToTensor())[0]
    assert (image.shape, image.dtype) == ((1, 28, 28), np.float32)


def test_the_target_transform_makes_the_label(root):
    assert FashionMNIST(root, target_transform=str)[7][1] == "7"


def test_iteration_ends(root):
    assert len(list(FashionMNIST(root))) == 20


def test_an_index_beyond_the_end_is_refused(root):
    with pytest.raises(IndexError):
        FashionMNIST(root)[20]


def test_a_batch_without_a_transform_is_the_images(root):
    images, _ = FashionMNIST(root).get_batch(np.array([4, 2]), RNG)
    np.testing.assert_array_equal(images.array, pictures(20)[[4, 2]])


def test_a_batch_has_its_labels(root):
    _, labels = FashionMNIST(root).get_batch(np.array([4, 2]), RNG)
    assert labels.tolist() == [4, 2]


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_is_its_transformed_samples(root, whole):
    to_tensor = transforms.ToTensor()
    dataset = FashionMNIST(root, transform=to_tensor if whole else lambda image: to_tensor(image))
    images, _ = dataset.get_batch(np.array([4, 2]), RNG)
    np.testing.assert_array_equal(images.array, np.stack([dataset[i][0].array for i in (4, 2)]))


def test_a_transform_with_batch_is_called_once(root):
    shapes = []

    class Noting(transforms.Transform):
        def batch(self, images, rng):
            shapes.append(images.shape)
            return images

    FashionMNIST(root, transform=Noting()).get_batch(np.arange(6), RNG)
    assert shapes == [(6, 28, 28)]


def test_a_batch_has_transformed_labels(root):
    dataset = FashionMNIST(root, target_transform=lambda label: label * 10)
    assert dataset.get_batch(np.array([4, 2]), RNG)[1].tolist() == [40, 20]


def test_a_loader_hands_out_every_sample(root):
    loader = DataLoader(FashionMNIST(root, transform=transforms.ToTensor()), batch_size=8)
    assert [len(labels) for _, labels in loader] == [8, 8, 4]


# --- the real data -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """The training and the test set of Debian's package."""
    return [FashionMNIST("data", train, download=True) for train in (True, False)]


def test_the_real_images_have_their_shapes(real):
    assert [d.data.shape for d in real] == [(60_000, 28, 28), (10_000, 28, 28)]


def test_the_real_classes_are_equally_frequent(real):
    counts = [np.bincount(d.targets.array).tolist() for d in real]
    assert counts == [[6_000] * 10, [1_000] * 10]


def test_the_real_first_image_is_an_ankle_boot(real):
    assert real[0].classes[real[0][0][1]] == "Ankle boot"


def test_the_real_mean_and_deviation_are_the_published_ones(real):
    pixels = real[0].data.array / np.float32(255)
    assert (round(float(pixels.mean()), 3), round(float(pixels.std()), 3)) == (0.286, 0.353)
