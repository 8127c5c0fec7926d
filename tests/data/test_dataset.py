"""Reading prepared folders, sound and damaged, and the order of the samples."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.data.dataset import fingerprint, open_prepared, verify
from alexnet.data.loader import batches, epoch_order
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.data.shards import canonical
from alexnet.errors import DataError

SIZE, COUNT = 8, 23


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def folder(request, tmp_path_factory) -> Path:
    """23 images in five shards; not to be changed."""
    labels = np.arange(COUNT, dtype=np.int64) % 3
    train = Samples(tuple(f"p{i}" for i in range(COUNT)), labels, arrays=pictures())
    val = Samples(("x", "y", "z"), np.array([2, 1, 0]), arrays=pictures()[:3])
    out = tmp_path_factory.mktemp(request.param) / "out"
    prepare(Source("made", ("a", "b", "c"), {"train": train, "val": val}), out, size=SIZE, encoding=request.param,
            shard_images=5)  # fmt: skip
    return out


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_is_known_about_the_folder(folder):
    prepared = open_prepared(folder)
    assert (prepared.source, prepared.size, prepared.class_names) == ("made", SIZE, ("a", "b", "c"))
    assert list(prepared.splits) == ["train", "val"]
    train = prepared.splits["train"]
    assert (len(train), train.name, train.names[-1]) == (COUNT, "train", "p22")
    assert train.labels.dtype == np.int64
    assert prepared.splits["val"].labels.tolist() == [2, 1, 0]
    stored = json.loads((folder / "prepared.json").read_bytes())["statistics"]
    for name in ("channel_mean", "channel_std", "color_stdevs", "color_vectors"):
        np.testing.assert_array_equal(getattr(prepared, name), np.array(stored[name]), strict=True)
    np.testing.assert_array_equal(prepared.mean_image, np.load(folder / "mean_image.npy"), strict=True)
    assert prepared.mean_image.shape == (SIZE, SIZE, 3)


def test_the_fingerprint_is_a_hash_of_this_text():
    """Changing it would make all runs so far refuse the images that they were trained on."""
    splits = {"val": [(np.array([1]), "ff")], "train": [(np.array([0, 1]), "00"), (np.array([], int), "11")]}
    text = '{"class_names":["a","b"],"splits":{"train":[[[0,1],"00"],[[],"11"]],"val":[[[1],"ff"]]}}'
    assert fingerprint(("a", "b"), splits) == hashlib.sha256(text.encode()).hexdigest()


@settings(max_examples=40, deadline=None)
@given(indices=st.lists(st.integers(0, COUNT - 1), max_size=60))
def test_pixels_of_an_index_do_not_depend_on_the_others(folder, indices):
    train = open_prepared(folder).splits["train"]
    alone = np.stack([train.read([i])[0] for i in range(COUNT)])
    read = train.read(indices)
    assert (read.shape, read.dtype) == ((len(indices), SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(read, alone[np.array(indices, int)])


def test_raw_pixels_are_the_source(folder):
    prepared = open_prepared(folder)
    if prepared.encoding == "raw":
        order = np.random.default_rng(1).permutation(COUNT)
        np.testing.assert_array_equal(prepared.splits["train"].read(order), pictures()[order])


@pytest.mark.parametrize("index", [-1, COUNT])
def test_indices_out_of_range(folder, index):
    with pytest.raises(IndexError, match=r"0\.\.22"):
        open_prepared(folder).splits["train"].read([0, index])


def test_what_was_read_may_be_changed(folder):
    train = open_prepared(folder).splits["train"]
    before = train.read([3])
    train.read([3])[:] = 0
    np.testing.assert_array_equal(train.read([3]), before)


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_is_found(copy):
    verify(open_prepared(copy))
    chooser = np.random.default_rng(2)
    for path in sorted(copy.iterdir()):
        intact = path.read_bytes()
        for position in {0, len(intact) - 1, *chooser.integers(0, len(intact), 6).tolist()}:
            broken = bytearray(intact)
            broken[position] ^= 1 << int(chooser.integers(8))
            path.write_bytes(broken)
            with pytest.raises(DataError, match=r"damaged|version"):
                verify(open_prepared(copy))
        path.write_bytes(intact)
    verify(open_prepared(copy))


def test_files_that_are_missing_or_cut_are_found_when_opening(copy):
    for path in sorted(copy.iterdir()):
        intact = path.read_bytes()
        for length in (None, 0, len(intact) // 2, len(intact) - 1):
            path.unlink()
            if length is not None:
                path.write_bytes(intact[:length])
            with pytest.raises(DataError) as caught:
                open_prepared(copy)
            assert caught.value.fix
            path.touch()
        path.write_bytes(intact)


def test_other_version_and_other_folders(copy, tmp_path):
    facts = json.loads((copy / "prepared.json").read_bytes())
    (copy / "prepared.json").write_bytes(canonical(facts | {"version": 99}))
    again = "Prepare the images again, or use the version of alexnet that wrote it."
    assert refusal(copy) == (f"{copy} has format version 99, this program reads version 1", again, "E332")
    make = "Make one: alexnet prepare IMAGES FOLDER."
    assert refusal(tmp_path) == (f"{tmp_path} is not a prepared folder (no prepared.json)", make, "E330")
    delete = f"Delete the folder {copy} and prepare the images again."
    for text in ("[]", "{}", "null", "\xff"):
        (copy / "prepared.json").write_text(text, encoding="latin-1")
        reason = "not the JSON that was written"
        assert refusal(copy) == (f"{copy / 'prepared.json'} is damaged: {reason}", delete, "E333")
    (copy / "prepared.json").write_bytes(canonical(facts | {"source": "other"}))
    assert refusal(copy) == (f"{copy / 'prepared.json'} is damaged: its checksum is wrong", delete, "E333")


def refusal(folder: Path) -> tuple[str, str, str]:
    """What opening a folder says, its fix and its code."""
    with pytest.raises(DataError) as caught:
        open_prepared(folder)
    return caught.value.what, caught.value.fix, caught.value.code


@pytest.mark.parametrize("change", [
    {"encoding": "tar"}, {"splits": {"train": 1}}, {"statistics": {"channel_mean": ["x"]}}, {"class_names": 7},
    {"source": ...},
])  # fmt: skip
def test_a_record_that_lacks_something_but_has_the_right_checksum(copy, change):
    facts = json.loads((copy / "prepared.json").read_bytes())
    facts.pop("checksum")
    facts |= change
    if facts["source"] is ...:
        del facts["source"]
    checksum = hashlib.sha256(canonical(facts)).hexdigest()
    (copy / "prepared.json").write_bytes(canonical(facts | {"checksum": checksum}))
    with pytest.raises(DataError, match=r"(prepared\.json|npy|json) is damaged"):
        open_prepared(copy)


def test_a_folder_that_is_still_being_prepared(tmp_path):
    (tmp_path / "preparing.json").write_bytes(b"{}")
    again = "Run the same `alexnet prepare` again; it continues where it stopped."
    assert refusal(tmp_path) == (f"{tmp_path}: its preparation was not finished", again, "E331")


def test_labels_changed_with_all_small_checksums_made_to_fit(copy):
    """Somebody edits a label and repairs every checksum but the fingerprint."""
    shard = json.loads((copy / "train-0000.json").read_bytes())
    shard["labels"][0] = 1
    (copy / "train-0000.json").write_bytes(canonical(shard))
    facts = json.loads((copy / "prepared.json").read_bytes())
    facts.pop("checksum")
    facts["splits"]["train"]["shards"][0]["json_sha256"] = hashlib.sha256(canonical(shard)).hexdigest()
    checksum = hashlib.sha256(canonical(facts)).hexdigest()
    (copy / "prepared.json").write_bytes(canonical(facts | {"checksum": checksum}))
    with pytest.raises(DataError, match=r"prepared\.json is damaged: its fingerprint does not match its content\n"):
        verify(open_prepared(copy))


def test_verify_names_the_shard(copy):
    path = open_prepared(copy).splits["train"].shards[2].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name} is damaged: its bytes are not the ones that were written\n"):
        verify(open_prepared(copy))


def test_a_mean_image_that_is_a_pickle_is_not_opened(copy):
    np.save(copy / "mean_image.npy", np.array([{}]), allow_pickle=True)
    facts = json.loads((copy / "prepared.json").read_bytes())
    facts.pop("checksum")
    facts["mean_image_sha256"] = hashlib.sha256((copy / "mean_image.npy").read_bytes()).hexdigest()
    checksum = hashlib.sha256(canonical(facts)).hexdigest()
    (copy / "prepared.json").write_bytes(canonical(facts | {"checksum": checksum}))
    what, _, code = refusal(copy)
    assert what.startswith(f"{copy / 'prepared.json'} is damaged: ValueError: Object arrays cannot be loaded")
    assert code == "E333"


def test_a_damaged_shard_is_named_when_it_is_first_read(folder, copy):
    prepared = open_prepared(copy)
    if prepared.encoding == "raw":
        pytest.skip("raw pixels cannot fail to decode")
    shard = prepared.splits["train"].shards[1]
    data = bytearray(shard.path.read_bytes())
    data[shard.offsets[2] : shard.offsets[2] + 8] = b"\0" * 8
    shard.path.write_bytes(data)
    with pytest.raises(DataError, match=r"train-0001.* is damaged: its sha256"):
        prepared.splits["train"].read([7])
    with pytest.raises(DataError, match="train-0001"):
        prepared.splits["train"].read(range(COUNT))


def test_verify_reports_its_progress(folder):
    seen = []
    verify(open_prepared(folder), lambda *told: seen.append(told))
    assert seen == [("verifying", i, 6) for i in range(7)]


# --- order -----------------------------------------------------------------------------------------------------------


@given(count=st.integers(0, 300), seed=st.integers(0, 2**63), epoch=st.integers(0, 10_000))
def test_an_epoch_visits_everything_once(count, seed, epoch):
    order = epoch_order(count, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_array_equal(order, epoch_order(count, seed, epoch))


def test_orders_differ_and_are_uniform():
    assert len({tuple(epoch_order(50, seed, epoch)) for seed in range(10) for epoch in range(10)}) == 100
    first = np.bincount([epoch_order(10, 0, epoch)[0] for epoch in range(2000)], minlength=10)
    # Binomial(2000, 0.1): mean 200, standard deviation 13.4; five of them.
    assert (np.abs(first - 200) < 67).all()


def test_order_is_the_same_on_every_machine():
    """Changing it would silently make all runs so far irreproducible."""
    assert epoch_order(8, seed=0, epoch=0).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert epoch_order(8, seed=1, epoch=2).tolist() == [7, 1, 3, 0, 4, 2, 6, 5]


@given(count=st.integers(0, 100), batch_size=st.integers(1, 40))
def test_batches_are_the_order_in_pieces(count, batch_size):
    order = epoch_order(count, 0, 0)
    pieces = batches(order, batch_size)
    assert all(len(piece) == batch_size for piece in pieces[:-1])
    assert all(len(piece) > 0 for piece in pieces)
    assert [index for piece in pieces for index in piece.tolist()] == order.tolist()
