"""Folders and files with names that break programs, and things in class folders that are no files."""

import ctypes
import json
import os
import socket
import subprocess
import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.dataset import open_prepared
from alexnet.data.images import prepare_image
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
from alexnet.errors import DataError
from alexnet.text import printable
from harness import ROOT
from harness.small_runs import SIZE, TINY

CLASSES = (
    "玫瑰",
    "\U0001f468‍\U0001f469‍\U0001f467 family",
    " spaces around ",
    "a..b",
    "dots...",
    "-dash",
    "Rose",
    "rose",
    "<b>&amp;'\"",
    "[bold]%s{0}\\n",
    "וֶרֶד",
    "nan",
    "é" * 127 + "x",
)
FILES = (
    "图.png",
    "\U0001f408.png",
    "a b.png",
    "x..y.png",
    "new\nline.png",
    "\x1b[2Jclear.png",
    "n" * 251 + ".png",
    os.fsdecode(b"caf\xe9.png"),
)


def picture(path: Path, color: int, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(color).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def folder(root: Path, classes=("cat", "dog"), files=("1.png", "2.png", "3.png")) -> Path:
    for label, name in enumerate(classes):
        for i, file in enumerate(files):
            picture(root / name / file, 100 * label + i)
    return root


def on_its_own(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Python in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, env=environment, timeout=300, **options
    )


# Preparing without the command line, which would import torch.
PREPARE = """
import sys
from alexnet.errors import DataError
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
root, out, size = sys.argv[1:]
try:
    for each in prepare(open_source(root), __import__("pathlib").Path(out), size=int(size)).skipped:
        print(f"{each.name}: {each.reason}")
except DataError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_classes_are_trained_and_shown_under_their_names(tmp_path, alexnet):
    root = folder(tmp_path / "图片 \U0001f408", CLASSES)
    assert len(CLASSES[-1].encode()) == 255
    run = tmp_path / "run"
    outcome = alexnet("train", root, *TINY, "epochs=1", "--out", run, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert json.loads((run / "classes.json").read_text("utf-8")) == sorted(CLASSES)
    page = (run / "report.html").read_text("utf-8")
    assert [name for name in CLASSES if f"<bdi>{escape(name)}</bdi>" not in page] == []
    facts = json.loads(alexnet("evaluate", run, "--format", "json").out)
    assert {name: each["images"] for name, each in facts["classes"].items()} == dict.fromkeys(sorted(CLASSES), 1)
    answer = json.loads(alexnet("predict", run, root / "Rose" / "1.png", "--format", "json").out)
    assert {name for name in CLASSES if name in json.dumps(answer, ensure_ascii=False)} != set()


def test_files_keep_their_names_through_preparing(tmp_path):
    root = folder(tmp_path / "pictures", files=FILES)
    (root / "cat" / FILES[4]).write_bytes(b"<html>")
    (root / "dog" / FILES[7]).write_bytes(b"")
    report = prepare(open_source(root), tmp_path / "out", size=SIZE)
    assert {(each.name, each.reason) for each in report.skipped} == {
        (f"cat/{FILES[4]}", "a web page, not an image; the download went wrong"),
        (f"dog/{FILES[7]}", "the file is empty"),
    }
    prepared = open_prepared(tmp_path / "out")
    seen = {name: split.read([i])[0] for split in prepared.splits.values() for i, name in enumerate(split.names)}
    assert set(seen) == {f"{c}/{f}" for c in ("cat", "dog") for f in FILES} - {each.name for each in report.skipped}
    for name, pixels in seen.items():
        np.testing.assert_array_equal(pixels, prepare_image(root / name, SIZE))


def test_what_is_left_out_is_printed_without_breaking_the_terminal(tmp_path):
    root = folder(tmp_path / "train", files=("1.png", "2.png")).parent
    folder(tmp_path / "val", files=("1.png", "2.png"))
    for file in FILES:
        (root / "train" / "cat" / file).write_bytes(b"")
    done = on_its_own("-m", "alexnet", "prepare", root, tmp_path / ".out", "--size", SIZE)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8").replace("\n", "")
    assert "\x1b" not in text
    for shown in ("图.png", "new\\nline.png", "\\x1b[2Jclear.png", "caf\\udce9.png"):
        assert f"{shown}: the file is empty" in text


@pytest.mark.parametrize("name", ["new\nline", "tab\tbed", "\x1b[31mred", "del\x7f", os.fsdecode(b"caf\xe9")])
def test_class_names_that_no_page_can_show_are_refused(tmp_path, name, alexnet):
    root = folder(tmp_path / "pictures", ("cat", name))
    outcome = alexnet("train", root, *TINY, "--out", tmp_path / "run", "--device", "cpu")
    assert outcome.code == 3
    assert ascii(name) in outcome.err
    assert "Rename it" in outcome.err
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="control characters or is not UTF-8"):
        open_source(folder(tmp_path / "split" / "train", ("cat", name)).parent)


def test_names_that_differ_in_case_only_are_two_classes_and_two_files(tmp_path):
    root = folder(tmp_path / "pictures", ("Rose", "rose"), ("a.png", "A.PNG", "b.png"))
    source = open_source(root)
    assert source.class_names == ("Rose", "rose")
    names = source.splits["train"].names + source.splits["val"].names
    assert sorted(names) == sorted(f"{c}/{f}" for c in ("Rose", "rose") for f in ("a.png", "A.PNG", "b.png"))


def test_printable_leaves_all_letters_and_escapes_what_moves_the_cursor():
    for name in CLASSES:
        assert printable(name) == name
    assert printable("a\nb\x1b[2J\x9b\udce9") == "a\\nb\\x1b[2J\\x9b\\udce9"


# --- what is no file -------------------------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has at most 108 bytes
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.parent.parent.parent / "fifo")
    path.symlink_to(path.parent.parent.parent / "fifo")


KINDS = (fifo, bound_socket, link_to_device, link_to_fifo)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_pipes_sockets_and_devices_are_left_out_without_being_opened(tmp_path):
    root = tmp_path / "a" / "pictures"
    folder(root / "train")
    folder(root / "val")
    odd = {make.__name__: root / "train" / "cat" / f"{make.__name__}.png" for make in KINDS}
    for make in KINDS:
        make(odd[make.__name__])
        with pytest.raises(DataError, match="a pipe, socket or device, not a file"):
            prepare_image(odd[make.__name__])
    done = on_its_own("-c", PREPARE, root, tmp_path / "out", SIZE)  # in a process, since it would wait forever
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert sorted(lines) == sorted(f"train/cat/{name}.png: a pipe, socket or device, not a file" for name in odd)


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_that_lead_in_circles_or_nowhere_are_left_out(tmp_path):
    root = folder(tmp_path / "pictures" / "train")
    folder(tmp_path / "pictures" / "val")
    (root / "cat" / "loop").symlink_to(root / "cat")
    (root / "dog" / "up").symlink_to(root.parent / "val")
    (root / "cat" / "one.png").symlink_to(root / "cat" / "two.png")
    (root / "cat" / "two.png").symlink_to(root / "cat" / "one.png")
    (root / "cat" / "self.png").symlink_to("self.png")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "gone.png")
    report = prepare(open_source(root.parent), tmp_path / "out", size=SIZE)
    reasons = {each.name.removeprefix("train/"): each.reason for each in report.skipped}
    assert set(reasons) == {"cat/one.png", "cat/two.png", "cat/self.png", "dog/gone.png"}
    assert "no such file or directory" in reasons["dog/gone.png"]
    assert "too many levels of symbolic links" in reasons["cat/self.png"]
    # What the link "up" leads to counts to the class it lies in, every folder once.
    assert report.counts["train"] == {"cat": 3, "dog": 9}


def test_a_class_folder_that_links_to_itself_or_to_nothing_is_no_class(tmp_path):
    root = folder(tmp_path / "pictures")
    (root / "itself").symlink_to("itself")
    (root / "nothing").symlink_to(tmp_path / "nothing")
    assert open_source(root).class_names == ("cat", "dog")


def test_links_out_of_the_folder_are_read_and_what_they_lead_to_is_not_written(tmp_path):
    root = folder(tmp_path / "pictures")
    outside = picture(tmp_path / "elsewhere" / "x.png", 77)
    (root / "cat" / "link.png").symlink_to(outside)
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    picture(tmp_path / "elsewhere" / "y.png", 78)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    report = prepare(open_source(root), tmp_path / "out", size=SIZE)
    counts = {name: sum(split[name] for split in report.counts.values()) for name in ("bird", "cat", "dog")}
    assert counts == {"bird": 2, "cat": 4, "dog": 3}
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


# --- permissions -----------------------------------------------------------------------------------------------------


def without_privileges() -> None:
    """Takes from root what lets it read files that nobody may read."""
    if os.getuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; 24 is PR_CAPBSET_DROP
            if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):
                os._exit(99)


@pytest.mark.skipif(sys.platform != "linux", reason="permissions of root are taken away as Linux does it")
@pytest.mark.parametrize("what", ["a file", "a class folder", "the folder"])
def test_what_may_not_be_read_is_said_in_words(tmp_path, what):
    folder(tmp_path / "pictures" / "val")
    root = folder(tmp_path / "pictures" / "train")
    closed = {"a file": root / "cat" / "1.png", "a class folder": root / "cat", "the folder": root}[what]
    closed.chmod(0)
    try:
        done = on_its_own("-c", PREPARE, root.parent, tmp_path / "out", SIZE, preexec_fn=without_privileges)
    finally:
        closed.chmod(0o755)
    if done.returncode == 99:
        pytest.skip("root keeps its rights here")
    said = done.stdout.decode()
    if what == "a file":
        assert (done.returncode, said) == (0, "train/cat/1.png: cannot be read: permission denied\n"), done.stderr
    else:
        assert done.returncode == 3, done.stderr
        assert f"{closed}: permission denied" in said
