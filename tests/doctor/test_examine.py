"""The doctor against planted faults and a clean control, its hashes against brute force, its proposals by hand."""

import hashlib
import json
import os
import shlex
import shutil
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import alexnet.doctor.examine as alexnet_doctor
from alexnet.data.exclusions import Excluded, read_exclusions, write_exclusions
from alexnet.data.image_files import FORMATS, HEIF_ENDINGS
from alexnet.data.samples import Samples, Source, balanced_weights
from alexnet.data.sources import open_source
from alexnet.doctor.duplicates import connected, difference_hash, differences, near_hashes, small_image
from alexnet.doctor.findings import SUFFIXES, find, find_suspects
from alexnet.doctor.inspection import ends_of, inspect, luma, sharpness_of, spread_of
from alexnet.evaluation.evaluate import Evaluation, evaluate
from alexnet.evaluation.run_calibration import temperature_of
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run
from alexnet.runs.start import images_of_run
from alexnet.training.step import weighted_loss
from harness import ROOT, SHARED
from harness.small_runs import TINY, colored, reseal
from studies.robustness import planting

CLASSES = ("bird", "cat", "dog")


def write_scenes(root: Path, train: int, val: int, suffix: str = ".png") -> Path:
    """Made-up images of three classes in train/ and val/."""
    rng = np.random.default_rng(7)
    for split, count in (("train", train), ("val", val)):
        for n in range(count):
            folder = root / split / CLASSES[n % len(CLASSES)]
            folder.mkdir(parents=True, exist_ok=True)
            planting.scene(rng).save(folder / f"{n}{suffix}")
    return root


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file of a folder: its checksum and its time of change."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def examined(alexnet, data: Path, out: Path, *options: object) -> dict:
    outcome = alexnet("doctor", data, "--out", out, *options)
    assert (outcome.code, outcome.err) == (0, ""), outcome.err
    return json.loads((out / "doctor.json").read_text())


# --- planted faults ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "photos", train=135, val=15)


def test_nothing_is_reported_of_good_images(alexnet, scenes, tmp_path):
    record = examined(alexnet, scenes, tmp_path / "out")
    assert planting.surplus({}, record) == {}
    assert record["excluded"] == []
    assert record["summary"] == {key: 0 for key in record["summary"]}


def test_every_planted_fault_is_found_and_nothing_else(alexnet, scenes, tmp_path):
    photos = shutil.copytree(scenes, tmp_path / "photos")
    planted = planting.plant(photos, 3, seed=1)
    before = snapshot(photos)
    record = examined(alexnet, photos, tmp_path / "out")
    lost = planting.missed(planted, record)
    assert {kind: faults for kind, faults in lost.items() if faults and not kind.startswith("hard")} == {}
    assert planting.surplus(planted, record) == {}
    assert snapshot(photos) == before
    flags = [(not group["leak"], not group["conflict"]) for group in record["copies"]]
    assert flags == sorted(flags)  # leaks come first


@pytest.fixture(scope="module")
def clothes(tmp_path_factory) -> Path:
    """400 photos of train and 60 of validation, enough of every class, those with a fault of their own left out."""
    archive = SHARED / "clothing.tar"
    if not archive.is_file():
        pytest.skip(f"the real photos are not at {archive}")
    seen = json.loads((ROOT / "studies/robustness/doctor_seen.json").read_text())
    faulty = {name for verdicts in seen.values() for names in verdicts for name in names.split(" = ")}
    root = tmp_path_factory.mktemp("clothes")
    left = {"train": 400, "validation": 60}
    with tarfile.open(archive) as tar:
        members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
        for name in sorted(members, key=lambda name: hashlib.sha256(name.encode()).digest()):
            split, _, rest = name.partition("/")
            if left.get(split) and name not in faulty:
                left[split] -= 1
                path = root / split.removesuffix("idation") / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(members[name]).read())
    return root


def test_planted_faults_in_real_photos_and_none_on_the_control(alexnet, clothes, tmp_path):
    assert planting.surplus({}, examined(alexnet, clothes, tmp_path / "clean")) == {}
    planted = planting.plant(clothes, 4, seed=2)
    record = examined(alexnet, clothes, tmp_path / "sick")
    lost = planting.missed(planted, record)
    assert {kind: faults for kind, faults in lost.items() if faults and not kind.startswith("hard")} == {}
    assert planting.surplus(planted, record) == {}


# --- copies --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 30))
def test_near_hashes_are_those_of_comparing_all(seed, count, most):
    rng = np.random.default_rng(seed)
    hashes, mirrored = rng.integers(0, 2**64, (2, count, 2), np.uint64)
    for a, b in rng.integers(0, count, (count // 2, 2)):
        noise = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, rng.integers(1, 20), np.uint64))
        (hashes if rng.random() < 0.5 else mirrored)[a] = hashes[b] ^ noise
    expected = [
        (i, j, flip)
        for i in range(count)
        for j in range(i + 1, count)
        for flip, others in ((False, hashes), (True, mirrored))
        if sum((int(x) ^ int(y)).bit_count() for x, y in zip(hashes[i], others[j], strict=True)) <= most
    ]
    pairs, flipped = near_hashes(hashes, mirrored, most)
    assert list(zip(*pairs.T.tolist(), flipped.tolist(), strict=True)) == expected


def test_the_hash_says_where_it_gets_darker():
    bars = np.repeat(np.arange(9, dtype=np.uint8)[::-1] * 20, 16)  # nine bars, darker from left to right
    square = np.broadcast_to(bars[None, :, None], (144, 144, 3)).copy()
    (columns, rows), (mirrored_columns, _) = difference_hash(square)
    assert (int(columns).bit_count(), int(rows).bit_count(), int(mirrored_columns).bit_count()) == (64, 0, 0)
    even = np.full((144, 144, 3), 200, np.uint8)
    even[::2] += 1  # noise of one level sets no bits
    assert difference_hash(even)[0].tolist() == [0, 0]


@given(st.integers(0, 2**32))
def test_the_hash_of_the_mirror_image_is_the_mirrored_hash(seed):
    square = np.asarray(planting.scene(np.random.default_rng(seed), (64, 64)))
    plain, mirrored = difference_hash(square)
    again, back = difference_hash(np.ascontiguousarray(square[:, ::-1]))
    assert (again.tolist(), back.tolist()) == (mirrored.tolist(), plain.tolist())
    small = np.stack([small_image(square), small_image(np.ascontiguousarray(square[:, ::-1]))])
    assert differences(small, np.array([[0, 1]]), np.array([True]))[0][0] < 1.0  # rounding of the cells


def test_differences_are_root_mean_squares():
    small = np.zeros((2, 16, 16, 3), np.uint8)
    small[0, :4, :, 0] = 40
    small[1, :, :8] = 200  # squares of this fit no integer of 16 bits
    rms, contrast = differences(small, np.array([[0, 1], [1, 1]]), np.array([False, True]))
    # Without the mean the cells of 1 are +-100; of 0 a quarter +30 and the rest -10, in one color of three.
    assert rms.tolist() == pytest.approx([(100**2 + 300 / 3) ** 0.5, 200.0])
    assert contrast.tolist() == pytest.approx([(300 / 3) ** 0.5, 100.0])


def test_groups_are_what_pairs_join():
    assert connected(7, np.array([[0, 3], [3, 5], [1, 2]])) == [[0, 3, 5], [1, 2]]
    assert connected(3, np.empty((0, 2), np.int64)) == []


# --- what is proposed to be left out -------------------------------------------------------------------------------


def source_of(images: dict[str, tuple[int, np.ndarray]]) -> Source:
    """A source of arrays: "split/name" -> (label, pixels)."""
    splits = {}
    for split in ("train", "val", "test"):
        names = [name for name in images if name.startswith(split)]
        if names:
            labels = np.array([images[name][0] for name in names], np.int64)
            splits[split] = Samples(tuple(names), labels, arrays=np.stack([images[name][1] for name in names]))
    return Source("arrays", ("a", "b"), splits)


def test_what_is_left_out_is_chosen_by_rule():
    rng = np.random.default_rng(3)
    one, two, three, four, five, six = (np.asarray(planting.scene(rng, (96, 96))) for _ in range(6))
    almost = five.copy()
    almost[0, 0] ^= 1
    images = {
        "train/leaks": (0, one),
        "train/leaks too, other class": (1, one),
        "train/first": (0, two),
        "train/second": (0, two),
        "train/cat or dog": (0, three),
        "train/dog or cat": (1, three),
        "train/near": (0, five),
        "train/alone": (1, six),
        "val/leaks": (0, one),
        "val/leaks to test": (1, four),
        "val/near": (0, almost),
        "test/leaks": (1, four),
    }
    findings = find(inspect(source_of(images)))
    assert {(each.split, each.name): each.reason for each in findings.excluded} == {
        ("train", "train/leaks"): "leak: the same as val/leaks in val",
        ("train", "train/leaks too, other class"): "leak: the same as val/leaks in val",
        ("train", "train/second"): "duplicate: the same pixels as train/first",
        ("train", "train/cat or dog"): "label conflict: the same pixels as train/dog or cat",
        ("train", "train/dog or cat"): "label conflict: the same pixels as train/cat or dog",
        ("train", "train/near"): "leak: nearly the same as val/near in val",
        ("val", "val/leaks to test"): "leak: the same as test/leaks in test",
    }


def test_a_chain_of_near_copies_is_a_group_but_only_direct_neighbours_of_val_are_left_out():
    base = np.asarray(planting.scene(np.random.default_rng(5), (96, 96))).astype(np.int16)
    tilt = np.where(np.arange(96) < 48, 5, -5)[
        :, None, None
    ]  # neighbours are 5 levels apart: near; the ends 10: not near
    steps = [np.clip(base + n * tilt, 0, 255).astype(np.uint8) for n in range(3)]
    findings = find(inspect(source_of({"train/a": (0, steps[0]), "train/b": (0, steps[1]), "val/c": (0, steps[2])})))
    assert [len(group.images) for group in findings.groups] == [3]
    assert [each.name for each in findings.excluded] == ["train/b"]


# --- measures ------------------------------------------------------------------------------------------------------


def test_sharpness_is_the_variance_of_the_laplacian():
    gray = np.random.default_rng(0).integers(0, 256, (9, 8)).astype(np.uint8)
    responses = [
        sum(int(gray[y + dy, x + dx]) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))) - 4 * int(gray[y, x])
        for y in range(1, 8)
        for x in range(1, 7)
    ]
    square = np.repeat(gray[:, :, None], 3, axis=2)
    assert sharpness_of(luma(square)) == pytest.approx(np.var(responses), rel=1e-4)
    assert sharpness_of(luma(square[:2, :2])) == 0.0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (4, 5), (31, 47)])
def test_a_twentieth_of_the_pixels_is_as_dark_and_a_twentieth_as_bright(height, width):
    gray = np.random.default_rng(width).integers(0, 256, (height, width), np.uint8)
    ordered = sorted(gray.ravel().tolist())
    nth = next(n for n in range(1, len(ordered) + 1) if 20 * n >= len(ordered))
    assert ends_of(np.repeat(gray[:, :, None], 3, axis=2)) == (ordered[nth - 1], ordered[-nth])


@pytest.mark.parametrize("levels", [(0, 256), (77, 78), (250, 256)])
def test_the_spread_is_the_largest_standard_deviation_of_a_channel(levels):
    square = np.random.default_rng(0).integers(*levels, (31, 47, 3), np.uint8)
    square[..., 1] //= 2
    assert spread_of(square) == pytest.approx(np.std(square, (0, 1)).max(), abs=1e-9)


def test_a_set_that_is_small_throughout_is_not_called_small_or_blurred():
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    names = tuple(f"{i}" for i in range(40))
    source = Source("digits", ("a", "b"), {"train": Samples(names, labels, arrays=images)})
    assert find(inspect(source)).poor == ()


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8).filter(any))
def test_balanced_weights_make_classes_count_alike_and_no_image_more_than_ten_times(counts):
    weights = balanced_weights(counts)
    shares, present = weights * counts, [n for n in counts if n]
    assert shares.sum() == pytest.approx(sum(counts))
    # As if no class had less than a tenth of the images of the largest.
    raised = [max(n, max(present) / 10) for n in present]
    assert weights[weights > 0] * raised == pytest.approx((weights[weights > 0] * raised)[0])
    assert [w == 0 for w in weights] == [n == 0 for n in counts]


def test_balanced_weights_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.repeat([0, 1, 2], [50, 100, 500])
    expected = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(np.bincount(labels)) == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_weighted_loss_of_certain_labels_is_that_of_pytorch(smoothing):
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(10, 4), torch.randint(0, 4, (10,)), torch.rand(4) + 0.1
    expected = F.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
    assert weighted_loss(logits, F.one_hot(labels, 4).float(), weights, smoothing) == pytest.approx(expected.item())


def test_the_weighted_loss_of_a_blend_lies_between_those_of_its_labels():
    logits, weights = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([0.2, 1.0, 5.0])
    first, second = (F.cross_entropy(logits, torch.tensor([label]), weights).item() for label in (0, 1))
    blend = weighted_loss(logits, torch.tensor([[0.5, 0.5, 0.0]]), weights).item()
    assert blend == pytest.approx((0.2 * first + 1.0 * second) / 1.2)  # each label by its weight


# --- likely wrong labels -------------------------------------------------------------------------------------------


def test_suspects_are_sorted_by_how_sure_the_network_is():
    probabilities = np.array([[0.05, 0.95], [0.99, 0.01], [0.3, 0.7], [0.02, 0.98], [0.08, 0.92]], np.float32)
    labels = np.array([0, 0, 0, 0, 1])
    names = ("sure", "right", "unsure", "surest", "right too")
    evaluation = Evaluation("val", 1, ("a", "b"), names, labels, probabilities)
    found = find_suspects([evaluation], trained_on=True)
    assert [(each.name, each.given, each.likely, each.trained_on) for each in found] == [
        ("surest", "a", "b", False),
        ("sure", "a", "b", False),
    ]
    learned = Evaluation("train", 1, ("a", "b"), names, labels, probabilities)
    assert [each.trained_on for each in find_suspects([learned], trained_on=True)] == [True, True]
    assert [each.trained_on for each in find_suspects([learned], trained_on=False)] == [False, False]


# --- files and words -----------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page holds, and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        elif tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_one_file_and_shows_what_was_found(alexnet, photos, tmp_path):
    shutil.copy(photos / "red/0.png", photos / "green/copy of <i> & red.png")
    (photos / "blue/broken.jpg").write_bytes(b"")
    record = examined(alexnet, photos, tmp_path / "out")
    page = Page((tmp_path / "out/doctor.html").read_text())
    assert page.open == []
    assert page.images
    assert all(image.startswith("data:image/") for image in page.images)
    assert "green/copy of <i> & red.png" in page.text
    assert "the file is empty" in page.text
    assert record["summary"]["unreadable images"] == 1


def test_the_same_images_give_the_same_files(alexnet, photos, tmp_path):
    shutil.copy(photos / "red/0.png", photos / "red/copy.png")
    for name in ("one", "two"):
        examined(alexnet, photos, tmp_path / name / "out")
    one, two = ((tmp_path / name / "out/exclude.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
    texts = [(tmp_path / name / "out/doctor.json").read_text().replace(f"/{name}/", "/") for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_the_summary_says_what_to_do_next(alexnet, photos, tmp_path):
    shutil.copy(photos / "red/0.png", photos / "red/copy.png")
    for n in range(3, 10):
        (photos / f"blue/{n}.png").unlink()
    outcome = alexnet("doctor", photos, "--out", tmp_path / "out")
    assert outcome.code == 0
    line = next(line for line in outcome.out.splitlines() if "alexnet train" in line)
    assert line.endswith(f"alexnet train {photos} --exclude {tmp_path}/out/exclude.jsonl class_weights=balanced")
    assert "blue has only 2 images in train" in outcome.out
    again = alexnet("doctor", photos, "--format", "json", "--out", tmp_path / "again")
    assert json.loads(again.out) == json.loads((tmp_path / "again/doctor.json").read_text())


def test_the_next_command_takes_the_same_images_and_labels(alexnet, photos, tmp_path):
    place = tmp_path / "my photos"
    place.mkdir()
    for n in range(3):
        shutil.copy(photos / f"red/{n}.png", place / f"r{n}.png")
        shutil.copy(photos / f"blue/{n}.png", place / f"b{n}.png")
    rows = [f"{letter}{n}.png,{name}" for letter, name in (("r", "red"), ("b", "blue")) for n in range(3)]
    table = tmp_path / "all labels.csv"
    table.write_text("filename,label\n" + "\n".join(rows) + "\n")
    *_, command = examined(alexnet, place, tmp_path / "out", "--labels", table)["next"]
    assert shlex.split(command)[:5] == ["alexnet", "train", str(place), "--labels", str(table)]


def test_an_empty_class_does_not_change_what_is_held_out(photos):
    before = open_source(str(photos))
    (photos / "a new class").mkdir()
    with_empty = open_source(str(photos), empty_classes=True)
    assert with_empty.splits["val"].names == before.splits["val"].names
    assert not any("only image" in note for note in with_empty.notes)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_what_is_no_file_is_unreadable_and_not_waited_for(alexnet, photos, tmp_path, kind):
    if kind == "a pipe":
        os.mkfifo(photos / "red/pipe.png")
    else:
        (photos / "red/zero.png").symlink_to("/dev/zero")
    record = examined(alexnet, photos, tmp_path / "out")
    (listed,) = record["unreadable"]
    assert (listed["name"], listed["sha256"]) in (("red/pipe.png", ""), ("red/zero.png", ""))


def test_the_page_has_all_its_figures_though_they_are_equal(alexnet, photos, tmp_path):
    examined(alexnet, photos, tmp_path / "out")
    page = (tmp_path / "out/doctor.html").read_text()
    assert page.count("<div><b>") == 3
    assert "<b>0</b>of " in page
    assert "<b>0</b>proposed" in page


def test_a_list_saved_with_a_mark_of_the_byte_order_is_read(tmp_path):
    written = (Excluded("train", "red/0.png", "", "unreadable"),)
    write_exclusions(tmp_path / "list.jsonl", written)
    text = (tmp_path / "list.jsonl").read_text("utf-8")
    (tmp_path / "list.jsonl").write_text(text, "utf-8-sig")
    assert read_exclusions(tmp_path / "list.jsonl") == written


def test_every_format_that_is_read_has_its_endings():
    assert SUFFIXES["HEIF"] == HEIF_ENDINGS
    assert set(FORMATS) < set(SUFFIXES)


def test_named_sets_are_examined_too(alexnet, tmp_path):
    record = examined(alexnet, "digits", tmp_path / "out")
    assert sum(record["images"].values()) == 1797
    assert record["unreadable"] == record["poor"] == record["formats"] == []


def test_a_trained_network_names_wrong_labels(alexnet, trained, photos, tmp_path, monkeypatch):
    """The network is replaced by one that answers the brightest channel, so that the right answers are known."""

    def brightest(model, read, count, **options):
        means = read(np.arange(count)).mean((1, 2))  # (n, 3) of red, green, blue; the classes are blue, green, red
        answers = np.full((count, 3), 0.01, np.float32)
        answers[np.arange(count), 2 - means.argmax(1)] = 0.98
        return answers

    monkeypatch.setattr(alexnet_doctor, "predict_probabilities", brightest)
    shutil.move(photos / "red/3.png", photos / "blue/wrong.png")
    (photos / "blue/broken.png").write_bytes(b"")
    (photos / "grey").mkdir()
    shutil.copy(photos / "red/4.png", photos / "grey/unknown.png")  # a class that the network does not know
    (photos / "no pictures").mkdir()
    record = examined(alexnet, photos, tmp_path / "out", "--run", trained / "run")
    (found,) = record["likely_wrong_labels"]
    assert (found["name"], found["given"], found["likely"]) == ("blue/wrong.png", "blue", "red")
    assert found["trained_on"] is False  # another folder than that of the run
    page = Page((tmp_path / "out/doctor.html").read_text())
    assert "Likely wrong labels 1" in page.text

    own = shutil.copytree(trained / "run", tmp_path / "run")
    facts = json.loads((own / "data.json").read_text())
    (own / "data.json").write_text(json.dumps(facts | {"source": str(photos.resolve())}))
    reseal(own)
    (found,) = examined(alexnet, photos, tmp_path / "own", "--run", own)["likely_wrong_labels"]
    assert found["trained_on"] is (found["split"] == "train")


def test_the_network_of_a_run_gets_its_own_images(alexnet, trained, tmp_path):
    """The probabilities are those of `alexnet evaluate`, image by image."""
    opened = open_run(trained / "run")
    model = load_model(opened)
    temperature = temperature_of(opened, model)
    data = images_of_run(opened)
    evaluation = evaluate(model, data, "val", class_names=opened.class_names, temperature=temperature)
    seen = {}

    def noting(evaluations, trained_on):
        seen.update({each.split: each for each in evaluations})
        return ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alexnet_doctor, "find_suspects", noting)
        examined(alexnet, trained / "photos", tmp_path / "out", "--run", trained / "run")
    assert seen["val"].names == evaluation.names
    assert seen["val"].labels.tolist() == evaluation.labels.tolist()
    assert seen["val"].probabilities == pytest.approx(evaluation.probabilities, abs=1e-5)


def test_a_network_that_knows_none_of_the_classes_is_not_asked(alexnet, trained, photos, tmp_path):
    for name in ("red", "green", "blue"):
        (photos / name).rename(photos / f"not {name}")
    outcome = alexnet("doctor", photos, "--run", trained / "run", "--out", tmp_path / "out")
    assert (outcome.code, "E385" in outcome.err) == (3, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folder", "code"), [("photos/inside", "E281"), ("taken", "E280")], ids=["inside the images", "used before"]
)
def test_a_folder_that_must_not_be_written_is_refused(alexnet, photos, tmp_path, folder, code):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/exclude.jsonl").write_text("# edited\n")
    before = snapshot(tmp_path)
    outcome = alexnet("doctor", photos, "--out", tmp_path / folder)
    assert outcome.code == 2
    assert code in outcome.err
    assert snapshot(tmp_path) == before


def test_a_prepared_folder_is_no_place_for_a_doctor(alexnet, photos, tmp_path):
    assert alexnet("prepare", photos, tmp_path / "prepared", "--size", 24).code == 0
    outcome = alexnet("doctor", tmp_path / "prepared", "--out", tmp_path / "out")
    assert (outcome.code, "E282" in outcome.err) == (2, True)


# --- training without them -----------------------------------------------------------------------------------------


def test_from_the_doctor_to_a_run_that_finds_its_images_again(alexnet, photos, tmp_path, cache):
    shutil.copy(photos / "red/0.png", photos / "red/copy.png")
    (photos / "red/broken.png").write_bytes(b"")
    record = examined(alexnet, photos, tmp_path / "out")
    assert {each["name"] for each in record["excluded"]} == {"red/broken.png", "red/copy.png"}
    manifest = tmp_path / "out/exclude.jsonl"
    common = ("train", photos, *TINY, "epochs=1", "--device", "cpu")
    with_all = alexnet(*common, "--out", tmp_path / "all")
    without = alexnet(*common, "--exclude", manifest, "--class-weights", "balanced", "--out", tmp_path / "run")
    assert (with_all.code, without.code) == (0, 0), without.err
    facts, everything = (json.loads((tmp_path / name / "data.json").read_text()) for name in ("run", "all"))
    assert "excluded" not in everything
    assert [each["name"] for each in facts["excluded"]] == [each["name"] for each in record["excluded"]]
    assert facts["fingerprint"] != everything["fingerprint"]
    assert facts["prepared"] != everything["prepared"]
    assert json.loads((tmp_path / "run/recipe.json").read_text())["class_weights"] == "balanced"
    assert "2 images" in (tmp_path / "run/report.html").read_text()

    shutil.rmtree(facts["prepared"])
    manifest.unlink()
    evaluated = alexnet("evaluate", tmp_path / "run", "--format", "json")
    assert evaluated.code == 0, evaluated.err
    stored = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert json.loads(evaluated.out) in stored
    assert alexnet("resume", tmp_path / "run", "--device", "cpu").code == 0


def test_prepare_leaves_out_too(alexnet, photos, tmp_path):
    manifest = tmp_path / "list"
    manifest.write_text('# by hand\n\n{"split": "train", "name": "red/1.png"}\n')
    names = {line for line in ("red/1.png", "red/0.png")}
    outcome = alexnet("prepare", photos, tmp_path / "prepared", "--size", 24, "--exclude", manifest)
    held = json.loads((tmp_path / "prepared/train-0000.json").read_text())["names"]
    assert outcome.code == 0, outcome.err
    assert names & set(held) == names - {"red/1.png"} & set(held)
    assert "red/1.png" not in held
    refused = alexnet("train", tmp_path / "prepared", *TINY, "--exclude", manifest)
    assert (refused.code, "E283" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("red/1.png", "E381", "line 1"),
        ('{"split": "train"}', "E381", "line 1"),
        ('{"split": "train", "name": "red/1.png", "because": "ugly"}', "E381", "line 1"),
        ('{"split": "train", "name": ["red/1.png"]}', "E381", "line 1"),
        ('{"split": "train", "name": "red/99.png"}', "E382", "red/99.png"),
        ('{"split": "val", "name": "red/1.png"}', "E382", "it is in train"),
        ('{"split": "tarin", "name": "red/1.png"}', "E382", "it is in train"),
        ('{"split": "train", "name": "red/1.png", "sha256": "0123"}', "E383", "red/1.png"),
        (None, "E380", "no such file"),
        (b"\xff\xfe", "E380", "UTF-8"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_in_words(alexnet, photos, tmp_path, line, code, words):
    manifest = tmp_path / "list"
    if line is not None:
        manifest.write_bytes(line if isinstance(line, bytes) else line.encode())
    for verb in (("prepare", photos, tmp_path / "prepared"), ("train", photos, *TINY)):
        outcome = alexnet(*verb, "--exclude", manifest)
        assert outcome.code == 3
        assert f"alexnet: {code} " in outcome.err
        assert words in outcome.err
    assert not (tmp_path / "prepared").exists()


def test_a_class_cannot_be_left_out_as_a_whole(alexnet, photos, tmp_path):
    lines = [json.dumps({"split": split, "name": f"red/{n}.png"}) for split in ("train", "val") for n in range(10)]
    source_names = alexnet("prepare", photos, tmp_path / "all", "--size", 24)
    assert source_names.code == 0
    held = set(json.loads((tmp_path / "all/train-0000.json").read_text())["names"])
    manifest = tmp_path / "list"
    manifest.write_text("\n".join(line for line in lines if '"train"' in line and json.loads(line)["name"] in held))
    outcome = alexnet("prepare", photos, tmp_path / "prepared", "--exclude", manifest)
    assert (outcome.code, "E384" in outcome.err, "red in train" in outcome.err) == (3, True, True)


def test_images_of_arrays_are_identified_by_their_pixels():
    pixels = colored(np.array([0, 1]), seed=0)
    source = Source("arrays", ("a", "b"), {"train": Samples(("0", "1"), np.array([0, 1]), arrays=pixels)})
    (facts, _) = inspect(source).images
    assert facts.sha256 == hashlib.sha256(pixels[0].tobytes()).hexdigest()
    assert (facts.width, facts.height, facts.format) == (24, 24, "")


def test_the_page_shows_a_gray_image():
    from alexnet.doctor.page import doctor_page

    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 20)).astype(np.uint8)
    pixels[1] = pixels[0]
    source = Source("grey", ("a", "b"), {"train": Samples(("0", "1"), np.array([0, 1]), arrays=pixels)})
    inspection = inspect(source)
    page = Page(doctor_page("grey", inspection, find(inspection), None, ("alexnet train grey",)))
    assert len(page.images) == 2


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_mirrored_photo_is_the_same_photo(symmetric):
    photo = planting.scene(np.random.default_rng(11), (128, 128))
    if symmetric:  # but for one side that is a little lighter: near both ways, and the same only when mirrored
        pixels = np.asarray(photo).astype(np.int16)
        pixels = (pixels + pixels[:, ::-1]) // 2
        pixels[:, :64] += 12
        photo = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    other = ImageOps.mirror(photo)
    arrays = np.stack([np.asarray(photo), np.asarray(other)])
    source = Source("two", ("a", "b"), {"train": Samples(("0", "1"), np.array([0, 1]), arrays=arrays)})
    (group,) = find(inspect(source)).groups
    assert (group.how, group.conflict, group.leak) == (("mirrored",), True, False)
