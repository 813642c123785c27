"""Files that may be anything: only regular ones are read, and only up to a size."""

from __future__ import annotations

import codecs
import os
import socket

import pytest

from minicnn.files import open_regular, read_bytes, read_text

pytestmark = pytest.mark.cpu


@pytest.fixture
def odd(tmp_path):
    """Things with a name that are no regular files, and a link to each."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    for name in ("fifo", "directory", "socket"):
        (tmp_path / f"link-{name}").symlink_to(name)
    return tmp_path


@pytest.mark.parametrize("link", ["", "link-"])
@pytest.mark.parametrize("name", ["fifo", "directory", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(odd, name, link):
    with pytest.raises(OSError, match=r"is a directory|is not a regular file") as caught:
        open_regular(odd / f"{link}{name}")
    assert caught.value.filename == str(odd / f"{link}{name}")


def test_a_device_is_refused(odd):
    with pytest.raises(OSError, match="is not a regular file"):
        read_bytes(odd / "device", 10)


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "a").write_bytes(bytes(10))
    assert read_bytes(tmp_path / "a", 10) == bytes(10)
    with pytest.raises(OSError, match="is larger than 9 bytes"):
        read_bytes(tmp_path / "a", 9)


TEXT = 'name = "Größe 1×1"\r\n'


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_text_is_read_as_its_mark_says(tmp_path, mark, encoding):
    (tmp_path / "a").write_bytes(mark + TEXT.encode(encoding))
    assert read_text(tmp_path / "a", 1000) == TEXT


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff\xfea", b"\xef\xbb\xbf\xff"])
def test_what_is_no_text_is_a_line_that_names_the_file(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=r"a: is not UTF-(8|16): byte \d+ is wrong$"):
        read_text(tmp_path / "a", 1000)
