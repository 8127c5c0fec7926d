"""Prepared datasets at an address: the same images, the same weights, a cache with a limit, and several processes."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet.data import remote
from alexnet.data.dataset import open_prepared, verify
from alexnet.data.prepare import prepare
from alexnet.data.remote import Arrivals, arriving, cache_limit, make_room, open_location
from alexnet.data.samples import Samples, Source
from alexnet.data.shards import read_shard
from alexnet.errors import AlexNetError, DataError, ResourceError
from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.run import create_run, open_run
from alexnet.storage.checksums import read_sums
from alexnet.storage.download import Patience
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from harness.faulty_server import PASSING, serving
from harness.small_runs import CLASSES, SIZE, TINY, colored

pytest.importorskip("aiohttp")

QUICK = Patience(silence=0.3, bytes_per_second=1e6, first_pause=0.0)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """An empty cache for every test."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(remote.LIMIT, raising=False)


def made(folder: Path, encoding: str = "raw") -> Path:
    """26 training and 10 val images in shards of 4."""
    splits = {}
    for seed, (name, count) in enumerate({"train": 26, "val": 10}.items()):
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)
        splits[name] = Samples(tuple(f"{name}/{i}" for i in range(count)), labels, arrays=colored(labels, seed))
    prepare(Source("colors", CLASSES, splits), folder, size=SIZE, encoding=encoding, shard_images=4)
    return folder


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def folder(request, tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("set") / "out", request.param)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("raw") / "out")


def data_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*-0*.*") if path.suffix in (".npy", ".jpegs"))


def kept() -> list[str]:
    return data_files(next(iter(remote.cache_folder().glob("remote/*/"))))


def network(prepared, recipe, where: Path, steps: int | None = None) -> dict[str, str]:
    """Trains, stopping and going on in between if `steps` says where; checksums of weights and training state."""
    about = {"source": "colors", "prepared": prepared.location, "fingerprint": prepared.fingerprint}
    run = create_run(where, recipe, prepared.class_names, about)

    if steps is not None:
        with pytest.raises(Interrupted):
            train(run, prepared, device=CPU, max_steps=steps)
    train(open_run(where), prepared, device=CPU)
    assert load_checkpoint(run).state.step == 12
    return read_sums(next((where / "checkpoints").glob("*12")))


def test_the_same_images_in_any_order(folder):
    local = open_prepared(folder)
    with serving(folder) as server:
        far = open_location(server.address, QUICK)
        assert data_files(far.folder) == []  # nothing but the small files has come
        assert (far.address, far.location, local.location) == (server.address, server.address, str(folder))
        for name, split in local.splits.items():
            assert (far.splits[name].names, far.splits[name].labels.tolist()) == (split.names, split.labels.tolist())
            for order in ([0], [9, 3, 3, 0, 7], range(len(split))):
                np.testing.assert_array_equal(far.splits[name].read(order), split.read(order))
        assert set(server.requests.values()) == {1}
        np.testing.assert_array_equal(far.mean_image, local.mean_image)
        verify(far)
        again = open_location(server.address, QUICK)  # as another process would
        again.splits["train"].read(range(26))
        assert max(server.requests.values()) == 2
        assert [name for name, count in server.requests.items() if count == 2] == ["prepared.json"]


def test_only_the_shards_of_the_images_come(raw):
    with serving(raw) as server:
        open_location(server.address, QUICK).splits["train"].read([1, 9, 25])
        assert kept() == ["train-0000.npy", "train-0002.npy", "train-0006.npy"]


def test_a_run_on_a_server_that_fails_ends_with_the_weights_of_a_local_one(raw, tiny, tmp_path):
    names = [path.name for path in sorted(raw.iterdir())]
    faults = {name: [PASSING[(3 * i + k) % len(PASSING)] for k in range(2)] for i, name in enumerate(names)}
    with serving(raw, faults) as server:
        far = network(open_location(server.address, QUICK), tiny, tmp_path / "far")
        assert set(server.planted) == set(PASSING)
        assert not any(server.faults.values())
    shutil.rmtree(tmp_path / "cache/remote")
    with serving(raw) as server:
        parts = network(open_location(server.address, QUICK), tiny, tmp_path / "parts", steps=5)
    local = network(open_prepared(raw), tiny, tmp_path / "local")
    weights = ("model.safetensors", "training.safetensors")
    assert [far[name] for name in weights] == [local[name] for name in weights] == [parts[name] for name in weights]


def test_the_verbs_take_an_address(raw, tmp_path, alexnet):
    # What fits a recipe to its images looks at all of them, and those at an address stay there until they are needed.
    options = (*TINY, "epochs=1", "fit=none", "cues=none", "--device", "cpu", "--out")
    local = alexnet("train", raw, *options, tmp_path / "local")
    assert local.code == 0, local.err
    with serving(raw, {"prepared.json": ["one bit"], "train-0001.json": ["cut short"]}) as server:
        far = alexnet("train", f"{server.address}/", *options, tmp_path / "far")
        assert far.code == 0, far.err
        run = tmp_path / "far"
        about = json.loads((run / "data.json").read_text())
        assert about["prepared"] == server.address
        for verb in (
            ("resume", run),
            ("evaluate", run),
            ("evaluate", run, server.address, "--split", "val"),
            ("verify", run, "--replay"),
        ):
            outcome = alexnet(*verb, "--device", "cpu")
            assert outcome.code == 0, (verb, outcome.err)
        for verb in (("doctor", server.address), ("prepare", server.address, tmp_path / "out")):
            assert "E276" in alexnet(*verb).err
    figures = [json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("local", "far")]
    assert figures[0] == figures[1]


def test_the_next_shards_come_before_they_are_asked_for(raw, monkeypatch):
    monkeypatch.setattr("alexnet.data.remote.CONNECTIONS", 1)  # several overtake each other
    with serving(raw) as server:
        far = open_location(server.address, QUICK)
        asked = threading.Event()
        bring, came = far.splits["train"].bring, []

        def noting(shard):
            found = bring(shard)
            came.append(shard.path.name)
            if len(came) == 10:
                asked.set()
            return found

        splits = {name: replace(split, bring=noting) for name, split in far.splits.items()}
        with arriving(replace(far, splits=splits), [25, 24, 12, 1]):
            assert asked.wait(60)
        assert sorted(came) == data_files(raw)
        assert came[:4] == ["train-0006.npy", "train-0003.npy", "train-0000.npy", "train-0001.npy"]
        assert came[-3:] == ["val-0000.npy", "val-0001.npy", "val-0002.npy"]


def test_what_goes_wrong_ahead_is_told_by_whoever_reads(raw):
    with serving(raw, {"train-0003.npy": ["404"] * 99}) as server:
        far = open_location(server.address, QUICK)
        with arriving(far, range(26)):
            far.splits["train"].read([0, 4, 8])
            with pytest.raises(DataError, match=r"E354 http.*train-0003\.npy does not exist"):
                far.splits["train"].read([12])


# --- what is wrong with a set ----------------------------------------------------------------------------------------


def test_shards_that_are_bad_for_good_are_named(raw):
    with serving(raw, {"train-0002.npy": ["one bit"] * 99, "val-0000.npy": ["500"] * 99}) as server:
        far = open_location(server.address, QUICK)
        far.splits["train"].read([0, 5, 20])
        with pytest.raises(DataError, match=r"E356 .*train-0002\.npy did not match the index"):
            far.splits["train"].read([8])
        with pytest.raises(ResourceError, match=r"E505 .*val-0000\.npy could not be downloaded in 6 attempts"):
            far.splits["val"].read([0])
        assert kept() == ["train-0000.npy", "train-0001.npy", "train-0005.npy"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "E353"), (b"<html>", "E357"), (b'{"version": 99, "checksum": ""}', "E332"), (b"{}", "E357")],
)
def test_an_address_where_no_prepared_set_lies(tmp_path, content, code):
    if content is not None:
        (tmp_path / "prepared.json").write_bytes(content)
    with serving(tmp_path) as server, pytest.raises(AlexNetError) as told:
        open_location(server.address, QUICK)
    assert told.value.code == code
    assert server.address in told.value.what


def sealed(folder: Path, **changed: object) -> None:
    """prepared.json with other facts and a checksum that fits."""
    from hashlib import sha256

    from alexnet.data.shards import canonical

    facts = json.loads((folder / "prepared.json").read_bytes())
    facts.pop("checksum")
    facts |= changed
    (folder / "prepared.json").write_bytes(canonical(facts | {"checksum": sha256(canonical(facts)).hexdigest()}))


@pytest.mark.parametrize(
    "changed",
    [{"fingerprint": "../../etc"}, {"fingerprint": 3}, {"encoding": "../x"}, {"splits": []}, {"mean_image_sha256": []}],
)
def test_a_hostile_index_writes_nothing_elsewhere(raw, tmp_path, changed):
    copy = Path(shutil.copytree(raw, tmp_path / "copy"))
    sealed(copy, **changed)
    with serving(copy) as server, pytest.raises(AlexNetError):
        open_location(server.address, QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) in (["cache", "copy"], ["copy"])


def test_files_of_the_cache_that_rot_are_fetched_again(raw):
    with serving(raw) as server:
        open_location(server.address, QUICK).splits["train"].read([0])
        (folder,) = remote.cache_folder().glob("remote/*/")
        for name in ("train-0000.npy", "train-0000.json", "mean_image.npy"):
            content = bytearray((folder / name).read_bytes())
            content[-2] ^= 1
            (folder / name).write_bytes(content)
        far = open_location(server.address, QUICK)
        np.testing.assert_array_equal(far.splits["train"].read([0]), open_prepared(raw).splits["train"].read([0]))
        assert server.requests["train-0000.npy"] == 2


# --- the limit of the cache ------------------------------------------------------------------------------------------


def test_a_set_that_the_cache_cannot_hold_is_refused(raw, monkeypatch):
    needed = sum((raw / name).stat().st_size for name in data_files(raw))
    with serving(raw) as server:
        monkeypatch.setenv(remote.LIMIT, str((needed - 1) / 1e9))
        with pytest.raises(ResourceError, match="E504") as told:
            open_location(server.address, QUICK)
        assert f"{remote.LIMIT} to at least 0.1" in told.value.fix
        monkeypatch.setenv(remote.LIMIT, str(needed / 1e9))
        open_location(server.address, QUICK).splits["train"].read(range(26))


@pytest.mark.parametrize("given", ["much", "0", "-1", "nan", "inf", ""])
def test_a_limit_that_is_none(monkeypatch, given):
    monkeypatch.setenv(remote.LIMIT, given)
    with pytest.raises(ResourceError, match="E506"):
        cache_limit()


def test_without_a_limit_a_tenth_of_the_disk_stays_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("usage", (), {"free": 700})())
    assert cache_limit() == 630
    folder = tmp_path / "cache/remote/x"
    folder.mkdir(parents=True)
    (folder / "train-0000.npy").write_bytes(bytes(250))
    (folder / ".train-0001.npy.tmp").write_bytes(bytes(50))
    (folder / "mean_image.npy").write_bytes(bytes(1000))
    assert cache_limit() == 900


@pytest.fixture
def hundreds(tmp_path, monkeypatch) -> Path:
    """Five shards of 100 bytes of which the fourth was used last, then the first; room for 500."""
    folder = tmp_path / "cache/remote/x"
    folder.mkdir(parents=True)
    for number, used in enumerate([50, 10, 20, 60, 30]):
        path = folder / f"train-000{number}.jpegs"
        path.write_bytes(bytes(100))
        os.utime(path, (used, used))
    monkeypatch.setenv(remote.LIMIT, str(500 / 1e9))
    return folder


@pytest.mark.parametrize(("size", "gone"), [(0, ""), (1, "1"), (100, "1"), (101, "12"), (300, "124"), (500, "01234")])
def test_what_was_not_used_for_longest_goes_and_no_more_than_needed(hundreds, size, gone):
    make_room(size)
    assert data_files(hundreds) == [f"train-000{i}.jpegs" for i in range(5) if str(i) not in gone]


def test_a_shard_in_work_stays_and_what_a_killed_process_left_goes(hundreds):
    (hundreds / ".train-0007.jpegs.tmp").write_bytes(bytes(100))
    os.utime(hundreds / ".train-0007.jpegs.tmp", (1, 1))
    with remote.in_turn(hundreds / ".train-0001.jpegs.lock"):
        make_room(150)
    assert data_files(hundreds) == [f"train-000{i}.jpegs" for i in (0, 1, 3)]
    assert not (hundreds / ".train-0007.jpegs.tmp").exists()


def test_a_shard_that_is_larger_than_the_limit(hundreds):
    with pytest.raises(ResourceError, match="E504"):
        make_room(501)


def test_images_are_right_and_the_limit_holds_however_small_it_is(folder, monkeypatch):
    """Below what a set needs it would be refused; another set may take the room, so reading must go on."""
    local = open_prepared(folder)
    largest = max((folder / name).stat().st_size for name in data_files(folder))
    with serving(folder) as server:
        far = open_location(server.address, QUICK)
        limit = int(2.5 * largest)
        monkeypatch.setenv(remote.LIMIT, str(limit / 1e9))
        chance = np.random.default_rng(0)
        for _ in range(6):
            order = chance.integers(0, 26, 9)
            np.testing.assert_array_equal(far.splits["train"].read(order), local.splits["train"].read(order))
            assert sum((far.folder / name).stat().st_size for name in data_files(far.folder)) <= limit
        assert max(server.requests[name] for name in data_files(folder)) > 1


def test_a_shard_stays_readable_when_its_file_goes(folder):
    local = open_prepared(folder)
    with serving(folder) as server:
        far = open_location(server.address, QUICK)
        split = far.splits["train"]
        shard = split.bring(split.shards[1])
        shard.path.unlink()
        found = read_shard(shard, np.arange(4), SIZE)
        np.testing.assert_array_equal(found, local.splits["train"].read(range(4, 8)))
        split.read([4])  # and comes again
        assert server.requests[shard.path.name] == 2


def test_a_file_that_goes_between_fetching_and_opening_is_fetched_again(raw, monkeypatch):
    with serving(raw) as server:
        far = open_location(server.address, QUICK)
        fetched, removed = Arrivals.fetched, []

        def unlucky(self, name):
            path = fetched(self, name)
            if not removed:
                removed.append(path.unlink())
            return path

        monkeypatch.setattr(Arrivals, "fetched", unlucky)
        far.splits["train"].read([0])
        assert (len(removed), server.requests["train-0000.npy"]) == (1, 2)


# --- several processes -----------------------------------------------------------------------------------------------

READER = """
import sys, hashlib, numpy as np
from alexnet.data.remote import open_location
split = open_location(sys.argv[1]).splits["train"]
order = np.random.default_rng(int(sys.argv[2])).permutation(26)
images = split.read(order)
print(hashlib.sha256(images[np.argsort(order)].tobytes()).hexdigest())
"""


def test_processes_share_one_cache_and_fetch_every_file_once(raw):
    import hashlib

    expected = hashlib.sha256(open_prepared(raw).splits["train"].read(range(26)).tobytes()).hexdigest()
    with serving(raw) as server:
        command = [sys.executable, "-c", READER, server.address]
        readers = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True) for i in range(3)]
        assert [reader.communicate()[0].strip() for reader in readers] == [expected] * 3
        assert {count for name, count in server.requests.items() if name != "prepared.json"} == {1}


def test_a_process_killed_while_it_fetches_leaves_nothing_that_hinders(raw):
    with serving(raw, {"train-0000.npy": ["silent in the middle"]}) as server:
        reader = subprocess.Popen([sys.executable, "-c", READER, server.address, "0"])
        assert server.stalled.wait(60)
        reader.kill()
        reader.wait()
        far = open_location(server.address, QUICK)
        np.testing.assert_array_equal(far.splits["train"].read([0]), open_prepared(raw).splits["train"].read([0]))
