"""SHA256SUMS: the same as `sha256sum` writes and checks; any change after writing is detected."""

import hashlib
import shutil
import subprocess
from threading import Barrier
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet.errors import UntrustedFileError
from alexnet.storage import checksums
from alexnet.storage.checksums import SUMS, broken, lines, read_listed, read_sums, sums_of

CONTENTS = {"b.json": b"{}", "a.txt": b"abc", "empty": b""}
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, of "abc"


@pytest.fixture
def folder(tmp_path):
    for name, content in {**CONTENTS, SUMS: sums_of(CONTENTS)}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_they_are_read_as_written_and_those_of_the_standard(folder):
    assert read_sums(folder)["a.txt"] == ABC
    assert sorted(read_sums(folder)) == ["a.txt", "b.json", "empty"]
    assert lines(read_sums(folder)) == sums_of(CONTENTS) == (folder / SUMS).read_bytes()
    assert broken(folder) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_writes_and_checks_the_same(folder):
    written = subprocess.run(["sha256sum", *sorted(CONTENTS)], cwd=folder, capture_output=True, check=True).stdout
    assert written == sums_of(CONTENTS)
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, capture_output=True, check=True)


def test_each_damaged_and_missing_file_is_named(folder):
    (folder / "a.txt").write_bytes(b"abd")
    (folder / "empty").unlink()
    assert broken(folder) == [
        f"{folder / 'a.txt'} is damaged: its bytes are not the ones that were written",
        f"{folder / 'empty'} is missing or cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        f"{ABC}  a.txt".encode(),  # no end of line
        f"{ABC}  a.txt\n\n".encode(),
        f"{ABC} a.txt\n".encode(),
        f"{ABC.upper()}  a.txt\n".encode(),
        f"{ABC[1:]}  a.txt\n".encode(),
        f"{ABC}  ../a.txt\n".encode(),
        f"{ABC}  b\n{ABC}  a\n".encode(),  # not in order
        f"{ABC}  a\n{ABC}  a\n".encode(),
        b"\xff",
    ],
)
def test_sums_that_are_not_in_their_form_are_refused(folder, content):
    (folder / SUMS).write_bytes(content)
    with pytest.raises(UntrustedFileError, match=rf"E650 {folder / SUMS} is damaged or missing: .+\nPut it back"):
        read_sums(folder)
    assert broken(folder) == [line for line in broken(folder) if str(folder / SUMS) in line] != []


def test_missing_sums_are_refused(tmp_path):
    with pytest.raises(UntrustedFileError, match=r"E650 .*SHA256SUMS is damaged or missing: .*No such file"):
        read_sums(tmp_path)
    assert len(broken(tmp_path)) == 1


@given(st.data())
def test_any_flipped_bit_is_noticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    files = {**CONTENTS, SUMS: sums_of(CONTENTS)}
    name = data.draw(st.sampled_from([name for name, content in files.items() if content]))
    bit = data.draw(st.integers(0, 8 * len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[bit // 8] ^= 1 << bit % 8
    for each, content in {**files, name: bytes(changed)}.items():
        (folder / each).write_bytes(content)
    assert broken(folder) != []


def test_a_file_is_parsed_as_it_was_written(folder):
    assert read_listed(folder, "a.txt", bytes.upper) == b"ABC"
    with pytest.raises(ZeroDivisionError):  # what the parser says of an intact file
        read_listed(folder, "a.txt", lambda content: 1 // 0)


@pytest.mark.parametrize("parse", [bytes.upper, lambda content: 1 // 0])
def test_damage_is_told_whatever_the_parser_makes_of_it(folder, parse):
    (folder / "a.txt").write_bytes(b"abd")
    with pytest.raises(UntrustedFileError, match=rf"E650 {folder / 'a.txt'} is damaged: its bytes"):
        read_listed(folder, "a.txt", parse)
    for name, told in (("b.json", "is missing or cannot be read"), ("c.json", "does not list c.json")):
        (folder / name).unlink(missing_ok=True)
        with pytest.raises(UntrustedFileError, match=f"E650 .*{told}"):
            read_listed(folder, name, parse)


def test_the_checksum_is_computed_while_the_file_is_parsed(folder, monkeypatch):
    both = Barrier(2, timeout=60)  # broken, where one waits for the other to end

    def sha256(content):
        both.wait()
        return hashlib.sha256(content)

    monkeypatch.setattr(checksums, "hashlib", SimpleNamespace(sha256=sha256))
    assert read_listed(folder, "a.txt", lambda content: both.wait() >= 0 and content) == b"abc"
