"""Folder trees of every layout, built by hand, and named datasets."""

import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet.data.images import prepare_image
from alexnet.data.samples import split_off_validation
from alexnet.data.sources import open_source
from alexnet.errors import DataError, ResourceError, UsageError


def tree(root: Path, *paths: str) -> Path:
    """Empty files: sources are listed, never decoded."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def classes_of(samples, class_names):
    return {name: class_names[label] for name, label in zip(samples.names, samples.labels, strict=True)}


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_train_val_and_test(tmp_path):
    paths = [f"{split}/{name}/{i}.jpg" for split in ("train", "val", "test") for name in ("cat", "Dog") for i in "12"]
    source = open_source(tree(tmp_path / "pets", *paths))
    assert (source.name, source.class_names, list(source.splits)) == ("pets", ("Dog", "cat"), ["train", "val", "test"])
    assert source.notes == ()
    for split, samples in source.splits.items():
        assert samples.labels.dtype == np.int64
        assert samples.names == tuple(f"{split}/{name}/{i}.jpg" for name in ("Dog", "cat") for i in "12")
        assert samples.labels.tolist() == [0, 0, 1, 1]
        assert samples.image(2) == tmp_path / "pets" / split / "cat" / "1.jpg"


@pytest.mark.parametrize("folder", ["val", "valid", "validation", "Validation"])
def test_names_of_the_val_folder(tmp_path, folder):
    source = open_source(tree(tmp_path, "Train/a/1.png", "Train/b/1.png", f"{folder}/a/1.png", f"{folder}/b/2.png"))
    assert source.splits["val"].names == (f"{folder}/a/1.png", f"{folder}/b/2.png")


def test_two_val_folders(tmp_path):
    with pytest.raises(DataError, match="both val/ and valid/"):
        open_source(tree(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"))


def test_test_alone_becomes_val_with_a_note(tmp_path):
    source = open_source(tree(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/2.png", "test/b/2.png"))
    assert list(source.splits) == ["train", "val"]
    assert source.splits["val"].names == ("test/a/2.png", "test/b/2.png")
    assert "test chooses the checkpoint" in " ".join(source.notes)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_val_a_fifth_of_every_class_is_held_out(tmp_path, prefix):
    paths = [f"{prefix}{name}/{i}.jpg" for name, count in (("a", 50), ("b", 10), ("c", 2), ("d", 1)) for i in
             range(count)]  # fmt: skip
    source = open_source(tree(tmp_path, *paths), seed=3)
    train, val = source.splits["train"], source.splits["val"]
    assert sorted(train.names + val.names) == sorted(paths)
    assert Counter(classes_of(val, source.class_names).values()) == {"a": 10, "b": 2, "c": 1}
    assert all(
        f"{name.removeprefix(prefix)[0]}" == label for name, label in classes_of(val, source.class_names).items()
    )
    assert "13 of 63 images were split off for validation (seed 3)" in " ".join(source.notes)
    assert "val has no image of d" in " ".join(source.notes)
    assert open_source(tmp_path, seed=3).splits["val"].names == val.names
    assert open_source(tmp_path, seed=4).splits["val"].names != val.names


def test_nested_folders_count_to_the_class_and_endings_have_no_case(tmp_path):
    source = open_source(
        tree(tmp_path, "train/a/x/y/1.JPG", "train/a/2.Jpeg", "train/b/1.WEBP", "val/a/z/1.tif", "val/b/q.gif")
    )
    assert source.splits["train"].names == ("train/a/2.Jpeg", "train/a/x/y/1.JPG", "train/b/1.WEBP")
    assert source.splits["val"].names == ("val/a/z/1.tif", "val/b/q.gif")


def test_hidden_and_foreign_files_are_not_used_but_noted(tmp_path):
    tree(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    tree(tmp_path, "a/.DS_Store", "a/Thumbs.db", "a/._1.jpg", "__MACOSX/a/1.jpg", ".hidden/9.jpg")
    tree(tmp_path, "a/.ipynb_checkpoints/1.jpg", "a/.ipynb_checkpoints/deep/1.jpg", "b/labels.txt", "b/x.psd", "z.jpg")
    source = open_source(tmp_path)
    assert source.class_names == ("a", "b")
    assert sorted(source.splits["train"].names + source.splits["val"].names) == [
        "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]  # fmt: skip
    notes = "\n".join(source.notes)
    assert "5 images in hidden files and folders" in notes
    assert "1 .txt" in notes
    assert "1 .psd" in notes
    assert "1 images directly in" in notes


def test_names_that_are_hard(tmp_path):
    names = ["猫", "\U0001f408 cat", "a b", "é" * 100]
    source = open_source(tree(tmp_path, *(f"{split}/{name}/图 1.jpg" for name in names for split in ("train", "val"))))
    assert source.class_names == tuple(sorted(names))
    assert all(source.splits["val"].image(i).is_file() for i in range(4))


def test_links_are_followed_and_loops_end(tmp_path):
    tree(tmp_path / "root", "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    tree(tmp_path / "elsewhere", "c/1.jpg", "c/2.jpg", "more/3.jpg")
    (tmp_path / "root/b/more").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "root/c").symlink_to(tmp_path / "elsewhere/c")
    (tmp_path / "root/a/loop").symlink_to(tmp_path / "root/a")
    (tmp_path / "elsewhere/c/up").symlink_to(tmp_path / "elsewhere/c", target_is_directory=True)
    (tmp_path / "root/b/dangling.jpg").symlink_to(tmp_path / "none.jpg")
    source = open_source(tmp_path / "root")
    names = sorted(source.splits["train"].names + source.splits["val"].names)
    assert names == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/dangling.jpg", "b/more/3.jpg", "c/1.jpg", "c/2.jpg"]


def test_a_class_called_train(tmp_path):
    source = open_source(tree(tmp_path, *(f"{name}/{i}.jpg" for name in ("train", "car", "plane") for i in "12345")))
    assert source.class_names == ("car", "plane", "train")


def test_class_missing_in_val_and_folder_beside_train_are_noted(tmp_path):
    source = open_source(
        tree(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/readme.txt", "extra/a/1.png")
    )
    assert classes_of(source.splits["val"], source.class_names) == {"val/a/1.png": "a"}
    notes = "\n".join(source.notes)
    assert "has no image of b" in notes
    assert "extra lies beside train" in notes


def test_test_folder_without_labels_is_not_used(tmp_path):
    source = open_source(tree(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "test/1.png"))
    assert list(source.splits) == ["train", "val"]
    assert "no labels" in " ".join(source.notes)


WRONG = {
    "nothing": ((), "no images", "one folder per class"),
    "other files only": (("a/x.txt", "b/y.txt"), "no images, only 2 .txt", "one folder per class"),
    "flat": (("1.jpg", "2.jpg"), "2 images but no class folders", "one folder per class"),
    "single class": (("cat/1.jpg", "cat/2.jpg"), r"single class \(cat\)", "one folder per class"),
    "nested once too deep": (("flowers/rose/1.jpg", "flowers/tulip/1.jpg"), "single class", "id you mean .*flowers"),
    "empty train": (("train/.keep", "val/a/1.jpg"), "no images", "one folder per class"),
    "a class without images": (("a/1.jpg", "b/1.jpg", "c/1.pdf"), "no images of c .found 1 .pdf", "Add images"),
    "val without train": (("val/a/1.jpg", "val/b/1.jpg"), "no train/", "Put the training images"),
    "unknown class in val": (
        ("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/zebra/1.jpg"), "does not have: zebra", "same class"),
    "other case in val": (
        ("train/Cat/1.jpg", "train/b/1.jpg", "val/cat/1.jpg"), "upper and lower case", "same class"),
    "empty val": (("train/a/1.jpg", "train/b/1.jpg", "val/.keep"), "val has no images", "move it elsewhere"),
    "one image each": (("a/1.jpg", "b/1.jpg"), "none can be used for validation", "Add images"),
    "val without ground truth": (("train/a/1.jpg", "train/b/1.jpg", "val/1.jpg"), "ground truth", "LOC_val_solution"),
}  # fmt: skip


@pytest.mark.parametrize("layout", WRONG)
def test_wrong_layouts_say_what_and_how_to_fix(layout, tmp_path):
    paths, reason, fix = WRONG[layout]
    with pytest.raises(DataError, match=reason) as caught:
        open_source(tree(tmp_path, *paths))
    assert caught.value.fix
    with pytest.raises(DataError, match=fix):
        open_source(tmp_path)


def test_not_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"does not exist.*[Dd]id you mean digits"):
        open_source("digit")
    with pytest.raises(DataError, match="fashion-mnist"):
        open_source(tmp_path / "none")
    for name, reason in (("photos.zip", "archive.*\n.*Unpack"), ("a.tar.gz", "archive"), ("cat.jpg", "a file")):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=reason):
            open_source(tmp_path / name)
    with pytest.raises(UsageError, match="val_share is 1"):
        open_source(tmp_path, val_share=1)


@pytest.mark.parametrize("where", ["", "a", "a/deep"])
def test_no_permission_is_an_error_not_an_empty_folder(tmp_path, monkeypatch, where):
    tree(tmp_path, "a/1.jpg", "a/2.jpg", "a/deep/3.jpg", "b/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def refuse(path="."):
        if Path(path) == tmp_path / where:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Tests may run as root, whom no permission stops.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="permission denied"):
        open_source(tmp_path)


# --- holding out -----------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(labels=st.lists(st.integers(0, 5), max_size=120), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_hold_out_is_stratified_seeded_and_leaves_both_sides_something(labels, share, seed):
    labels = np.array(labels, np.int64)
    held = split_off_validation(labels, share, seed)
    assert held.dtype == bool
    assert held.shape == labels.shape
    np.testing.assert_array_equal(held, split_off_validation(labels, share, seed))
    for label, count in Counter(labels.tolist()).items():
        chosen = int(held[labels == label].sum())
        if count == 1:
            assert chosen == 0
        else:
            assert 1 <= chosen <= count - 1
            assert abs(chosen - count * share) <= 1


def test_hold_out_is_uniform_and_classes_are_independent():
    labels = np.repeat([0, 1], [10, 10])
    often = sum(split_off_validation(labels, 0.2, seed).astype(int) for seed in range(500))
    # Binomial(500, 0.2): mean 100, standard deviation 9; five of them.
    assert (np.abs(often - 100) < 45).all()
    more = np.repeat([0, 1], [10, 25])
    np.testing.assert_array_equal(split_off_validation(labels, 0.2, 7)[:10], split_off_validation(more, 0.2, 7)[:10])


# --- ILSVRC-2012 -----------------------------------------------------------------------------------------------------

VAL = [f"ILSVRC2012_val_{i:08d}" for i in range(1, 5)]
TRUTH = ["n02", "n01", "n03", "n01"]


def ilsvrc(root: Path) -> Path:
    train = [f"train/{wnid}/{wnid}_{i}.JPEG" for wnid in ("n01", "n02", "n03") for i in "12"]
    return tree(root, *train, *(f"val/{name}.JPEG" for name in VAL))


def check_ilsvrc(source):
    assert source.class_names == ("n01", "n02", "n03")
    assert classes_of(source.splits["val"], source.class_names) == {
        f"val/{name}.JPEG": wnid for name, wnid in zip(VAL, TRUTH, strict=True)
    }


def kaggle_solution(folder: Path) -> None:
    rows = [f"{name},{wnid} 1 2 3 4 n99 5 6 7 8 \n" for name, wnid in zip(VAL, TRUTH, strict=True)]
    (folder / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows[::-1]))


def test_ilsvrc_with_kaggles_solution(tmp_path):
    kaggle_solution(ilsvrc(tmp_path))
    check_ilsvrc(open_source(tmp_path))


def test_ilsvrc_in_kaggles_folders(tmp_path):
    root = ilsvrc(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    kaggle_solution(tmp_path / "ILSVRC")
    check_ilsvrc(open_source(root))


@pytest.mark.parametrize("folder", ["", "ILSVRC2012_devkit_t12/data"])
def test_ilsvrc_with_the_development_kit(tmp_path, folder):
    scipy_io = pytest.importorskip("scipy.io")
    kit = ilsvrc(tmp_path) / folder
    kit.mkdir(parents=True, exist_ok=True)
    # As in the official file the ids are not in the order of the WNIDs, and inner nodes of the tree follow.
    rows = [(1, "n03"), (2, "n01"), (3, "n02"), (4, "n00000000")]
    synsets = np.array(rows, [("ILSVRC2012_ID", "O"), ("WNID", "O")]).reshape(-1, 1)
    scipy_io.savemat(kit / "meta.mat", {"synsets": synsets})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n2\n1\n2\n")
    source = open_source(tmp_path)
    check_ilsvrc(source)
    assert source.notes == ()
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n2\n1\n")
    with pytest.raises(DataError, match="3 lines for 4 images"):
        open_source(tmp_path)


def test_ilsvrc_with_a_text_file(tmp_path):
    lines = [f"{name}.JPEG {wnid}\n" for name, wnid in zip(VAL, TRUTH, strict=True)]
    (ilsvrc(tmp_path) / "val.txt").write_text("".join(lines))
    (tmp_path / "a-readme.txt").write_text("hello\n")
    check_ilsvrc(open_source(tmp_path))
    (tmp_path / "val.txt").write_text("".join(lines[1:]))
    with pytest.raises(DataError, match="does not list val/ILSVRC2012_val_00000001"):
        open_source(tmp_path)


def test_tiny_imagenet(tmp_path):
    tree(tmp_path, "train/n01/images/1.JPEG", "train/n02/images/1.JPEG", "val/images/val_0.JPEG", "test/images/0.JPEG")
    (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\n")
    source = open_source(tmp_path)
    assert classes_of(source.splits["val"], source.class_names) == {"val/images/val_0.JPEG": "n02"}
    assert list(source.splits) == ["train", "val"]


# --- named datasets --------------------------------------------------------------------------------------------------


def test_digits(tmp_path, monkeypatch):
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    monkeypatch.chdir(tmp_path)
    source, truth = open_source("digits"), sklearn_datasets.load_digits()
    assert source.class_names == tuple("0123456789")
    sizes = {split: len(samples) for split, samples in source.splits.items()}
    assert list(sizes) == ["train", "val", "test"]
    assert sum(sizes.values()) == 1797
    assert abs(sizes["test"] - 0.2 * 1797) <= 5
    assert abs(sizes["val"] - 0.16 * 1797) <= 5
    assert len({name for samples in source.splits.values() for name in samples.names}) == 1797
    for samples in source.splits.values():
        assert np.bincount(samples.labels).min() * 1.2 > np.bincount(samples.labels).max()
        for position in (0, len(samples) - 1):
            index = int(samples.names[position].removeprefix("digits/"))
            assert samples.labels[position] == truth.target[index]
            expected = np.floor(truth.images[index] * 255 / 16 + 0.5)
            np.testing.assert_array_equal(samples.image(position), np.stack([expected] * 3, 2))
    assert source.splits["train"].arrays.max() == 255
    assert open_source("digits", seed=1).splits["test"].names != source.splits["test"].names
    assert prepare_image(source.splits["train"].image(0), 16).shape == (16, 16, 3)


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tree(tmp_path, "digits/one/1.png", "digits/one/2.png", "digits/two/1.png", "digits/two/2.png"))
    assert open_source("digits").class_names == ("one", "two")


def test_digits_without_scikit_learn(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'alexnet\[digits\]'"):
        open_source("digits")


@pytest.mark.parametrize(("name", "attribute", "shape"), [
    ("cifar10", "CIFAR10", (32, 32, 3)), ("fashion-mnist", "FashionMNIST", (28, 28)),
])  # fmt: skip
def test_sets_of_torchvision_that_fit_into_memory(tmp_path, monkeypatch, name, attribute, shape):
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.chdir(tmp_path)

    def fake(root, train, download):
        assert (Path(root), download) == (tmp_path / "cache", True)
        data = np.full((3 if train else 2, *shape), 7 if train else 9, np.uint8)
        return SimpleNamespace(data=data, targets=[1, 0, 1][: len(data)], classes=["T-shirt/top", "bag"])

    monkeypatch.setattr(datasets, attribute, fake)
    source = open_source(name, downloads=tmp_path / "cache")
    assert source.class_names == ("T-shirt/top", "bag")
    assert {split: samples.labels.tolist() for split, samples in source.splits.items()} == {
        "train": [1, 0, 1], "val": [1, 0]}  # fmt: skip
    assert source.splits["val"].names == ("val/00000", "val/00001")
    assert (prepare_image(source.splits["val"].image(1), 40) == 9).all()


def test_imagenette_and_flowers_from_official_files(tmp_path, monkeypatch):
    datasets, scipy_io = pytest.importorskip("torchvision.datasets"), pytest.importorskip("scipy.io")
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "imagenette2-320", *(f"{split}/n0{i}/x.JPEG" for split in ("train", "val") for i in "12"))
    monkeypatch.setattr(
        datasets, "Imagenette", lambda *_, **__: SimpleNamespace(classes=[("tench", "Tinca tinca"), ("church",)])
    )
    source = open_source("imagenette", downloads=tmp_path)
    assert source.class_names == ("tench", "church")
    assert source.splits["val"].names == ("val/n01/x.JPEG", "val/n02/x.JPEG")

    (tmp_path / "flowers-102/jpg").mkdir(parents=True)
    for i in range(1, 6):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"flowers-102/jpg/image_{i:05d}.jpg")
    scipy_io.savemat(tmp_path / "flowers-102/imagelabels.mat", {"labels": np.array([[2, 1, 2, 1, 1]], np.uint8)})
    lists = {"trnid": np.array([[5, 1]]), "valid": np.array([[2, 4]]), "tstid": np.array([[3, 4]])}
    scipy_io.savemat(tmp_path / "flowers-102/setid.mat", lists)

    class WithoutSciPy:
        """What torchvision does where SciPy is not installed: it downloads, and then cannot read the lists."""

        classes = ("rose", "lily")

        def __init__(self, *_: object, **__: object) -> None:
            raise ModuleNotFoundError("No module named 'scipy'")

    monkeypatch.setattr(datasets, "Flowers102", WithoutSciPy)
    source = open_source("flowers102", downloads=tmp_path)
    assert classes_of(source.splits["train"], source.class_names) == {
        "jpg/image_00005.jpg": "rose", "jpg/image_00001.jpg": "lily"}  # fmt: skip
    assert classes_of(source.splits["test"], source.class_names) == {
        "jpg/image_00003.jpg": "lily", "jpg/image_00004.jpg": "rose"}  # fmt: skip
    assert source.splits["val"].image(0).is_file()


def test_failed_download_says_where_to_put_the_files(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.chdir(tmp_path)

    def offline(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(datasets, "CIFAR10", offline)
    with pytest.raises(ResourceError, match="network is unreachable") as caught:
        open_source("cifar10", downloads=tmp_path / "cache")
    assert str(tmp_path / "cache") in caught.value.fix
