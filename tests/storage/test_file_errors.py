"""Everyday slips with files are told in words, whatever the system says, and whichever verb meets them."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli import main as command_line
from alexnet.errors import AlexNetError
from alexnet.storage.files import cache_folder, disk_errors, file_error, user_path
from harness import ROOT

CODES = {
    errno.ENOSPC: "E501",
    errno.EDQUOT: "E501",
    errno.EFBIG: "E544",
    errno.EMFILE: "E545",
    errno.ENFILE: "E545",
    errno.ENAMETOOLONG: "E2041",
    errno.ELOOP: "E2041",
    errno.ENOTDIR: "E2041",
    errno.ENOENT: "E2042",
    errno.EISDIR: "E2042",
    errno.EEXIST: "E2042",
    errno.EACCES: "E375",
    errno.EPERM: "E375",
    errno.EIO: "E502",
    errno.EROFS: "E502",
    errno.ESTALE: "E502",
    errno.EBUSY: "E502",
}


@pytest.mark.parametrize("number", CODES, ids=[errno.errorcode[each] for each in CODES])
@pytest.mark.parametrize("name", [None, "/nowhere/cat.jpg", b"/nowhere/cat.jpg", Path("/nowhere/cat.jpg"), 7])
def test_what_the_system_says_becomes_a_message(number, name):
    error = OSError(number, os.strerror(number), name)
    told = file_error(error)
    assert told.code == CODES[number]
    assert int(told.code[1]) == told.exit_code
    assert told.fix
    if name not in (None, 7) and CODES[number] not in ("E545",):
        assert "/nowhere/cat.jpg" in told.what


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_cache_that_may_not_be_written_to_is_told_with_the_way_around_it(number, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    inside = str(tmp_path / "cache/prepared/photos")
    beside = str(tmp_path / "cache-of-mine/photos")
    for path, helps in ((inside, True), (tmp_path / "cache", True), (beside, False), (tmp_path, False)):
        error = OSError(number, os.strerror(number), path)
        with pytest.raises(AlexNetError) as caught, disk_errors("making it"):
            raise error
        assert ("ALEXNET_CACHE" in caught.value.fix) == helps
        assert ("ALEXNET_CACHE" in file_error(error).fix) == helps
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), inside)
    assert "ALEXNET_CACHE" not in file_error(full).fix


def test_a_cache_whose_parent_cannot_be_made_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / ".cache/alexnet"))
    error = OSError(errno.EACCES, os.strerror(errno.EACCES), tmp_path / ".cache")
    assert "ALEXNET_CACHE" in file_error(error).fix


def test_a_name_that_is_too_long_is_not_printed_whole():
    told = file_error(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000))
    assert len(told.what) < 300


def test_a_limit_of_file_sizes_is_not_called_a_full_disk():
    with pytest.raises(AlexNetError) as caught, disk_errors("saving"):
        raise OSError(errno.EFBIG, "File too large", "/tmp/a")
    assert caught.value.code == "E544"
    assert "full" not in caught.value.what


def real_errors(folder: Path) -> dict[str, Path]:
    """Paths at which the system itself refuses."""
    (folder / "file").write_bytes(b"")
    (folder / "circle").symlink_to(folder / "circle")
    return {
        "E2041 not a folder": folder / "file" / "below",
        "E2041 a circle": folder / "circle",
        "E2041 too long": folder / ("a" * 300),
        "E2042 missing": folder / "missing",
        "E2042 a folder": folder,
    }


def test_the_command_line_tells_real_errors_without_a_traceback(tmp_path, monkeypatch, capsys):
    for name, path in real_errors(tmp_path).items():
        monkeypatch.setattr(command_line, "app", lambda *_, path=path, **__: path.open("rb"))
        with pytest.raises(SystemExit) as left:
            command_line.main()
        told = capsys.readouterr().err
        assert told.startswith(f"alexnet: {name.split()[0]} "), told
        assert left.value.code == int(name[1])


@pytest.mark.parametrize("text", ["~", "~/photos", "~x", "~nobody-of-this-name/photos", "photos", "a~b"])
def test_a_folder_may_begin_with_a_tilde(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert user_path(text) == (Path(text.replace("~", "/home/ann", 1)) if text in ("~", "~/photos") else Path(text))
    Path(text).mkdir(parents=True)
    assert user_path(text) == Path(text)


def test_without_a_home_the_cache_says_what_it_needs(monkeypatch):
    def no_home(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    for name in ("ALEXNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert user_path("~/photos") == Path("~/photos")
    with pytest.raises(AlexNetError) as caught:
        cache_folder()
    assert caught.value.code == "E2040"
    monkeypatch.setenv("ALEXNET_CACHE", "/cache")
    assert cache_folder() == Path("/cache")


def test_a_cache_that_is_named_with_nothing_is_not_named(monkeypatch):
    monkeypatch.delenv("ALEXNET_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("/home/ann/.cache/alexnet")


# What is done with the standard output -> the exit code
OUTPUTS = {">/dev/full": 5, ">&-": 0, "2>&- >/dev/full": 5, ">/dev/null": 0, "<&- >/dev/null": 0}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
@pytest.mark.parametrize("redirection", OUTPUTS)
def test_a_full_or_closed_output_is_no_traceback(redirection):
    command = f'"{sys.executable}" -m alexnet recipes {redirection}'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, env=environment, timeout=300)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == OUTPUTS[redirection]


def test_output_that_cannot_be_written_is_dropped(monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    dropped = []
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(os, "dup2", lambda old, new: dropped.append(new))
    command_line._drop_output()
    assert dropped == [1]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="not on Windows")
def test_a_warning_of_the_scheduler_ends_no_command(monkeypatch):
    """Training handles it; what starts before and what reports afterwards must not end of it."""
    seen = []
    monkeypatch.setattr(command_line, "app", lambda *_, **__: seen.append(signal.getsignal(signal.SIGUSR1)))
    command_line.main()
    assert seen == [signal.SIG_IGN]
