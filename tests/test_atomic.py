"""Files that are whole or not there: what is respected, refused and left."""

from __future__ import annotations

import os
import stat
import threading

import pytest

import minicnn
from minicnn import atomic

pytestmark = pytest.mark.cpu


def save(path, content):
    minicnn.save({content.decode(): minicnn.zeros(1)}, path)


@pytest.fixture(params=[atomic.write, save], ids=["write", "save"])
def write(request):
    """Whatever writes files."""
    return request.param


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(write, tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "x", b"new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "x") == 0o666 & ~mask


@pytest.mark.parametrize("bits", [0o600, 0o644, 0o664, 0o755])
def test_a_file_keeps_its_permissions(write, tmp_path, bits):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(bits)
    write(path, b"new")
    assert mode(path) == bits
    assert path.read_bytes() != b"old"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_leads_to_the_new_content(write, tmp_path, there):
    (tmp_path / "else").mkdir()
    target, link = tmp_path / "else" / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write(link, b"new")
    assert link.is_symlink() and os.readlink(link) == str(target)
    assert target.read_bytes() not in (b"", b"old")
    assert os.listdir(tmp_path / "else") == ["target"]


def fifo(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path)


def null(path):
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("make", [fifo, os.mkdir, null, loop], ids=lambda f: f.__name__)
def test_what_is_no_regular_file_is_refused_by_name_and_stays(write, tmp_path, make):
    path = tmp_path / "x"
    make(path)
    before = path.lstat()
    with pytest.raises(OSError, match="x'"):
        write(path, b"new")
    assert path.lstat().st_ino == before.st_ino
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert os.listdir(tmp_path) == ["x"]


def test_a_planted_link_is_not_followed(write, tmp_path, monkeypatch):
    (tmp_path / "victim").write_bytes(b"mine")
    monkeypatch.setattr("secrets.token_hex", lambda n: "guessed")
    (tmp_path / ".x.guessed.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        write(tmp_path / "x", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_directory_that_is_not_there_is_said_of_the_file_that_was_asked_for(write, tmp_path):
    path = tmp_path / "nosuch" / "x"
    with pytest.raises(FileNotFoundError) as found:
        write(path, b"new")
    assert found.value.filename == str(path)


def test_many_writers_of_one_file_leave_the_whole_of_one(tmp_path):
    path, faults = tmp_path / "x", []

    def work(i):
        try:
            for _ in range(10):
                atomic.write(path, bytes([i]) * 1000)
        except OSError as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_bytes() in [bytes([i]) * 1000 for i in range(6)]


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_failure_at_any_step_leaves_everything_as_it_was(write, tmp_path, monkeypatch, step):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    class Full:
        def __init__(self, descriptor, kind):
            self.descriptor = descriptor

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.descriptor)

        write = full

    if step == "write":
        monkeypatch.setattr(atomic, "open", Full, raising=False)
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"No space.*/x'$"):
        write(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "-", ".x", "a b\n"])
def test_any_name_that_a_file_can_have(write, tmp_path, name):
    write(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]


def test_what_a_killed_writer_leaves_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: os._exit(1))
    for name in ("model.safetensors", "x" * 255):
        child = os.fork()
        if not child:
            atomic.write(tmp_path / name, b"half")
        os.waitpid(child, 0)
        (left,) = os.listdir(tmp_path)
        assert atomic.is_leftover(left, name)
        assert not atomic.is_leftover(name, name)
        os.unlink(tmp_path / left)


def test_the_content_is_on_the_disk_before_its_name_is(write, tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*arguments, real=real, name=name):
            order.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noted)
    write(tmp_path / "x", b"new")
    assert order == ["fsync", "replace", "fsync"]
