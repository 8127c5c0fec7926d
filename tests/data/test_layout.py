"""What folders mean, as a table: trees as public sets have them and as people make them, and what must be read."""

import io
import json
import os
import shutil
import tarfile
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alexnet as face
from alexnet.data.dataset import open_prepared
from alexnet.data.folders import Tree, without_foreign
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
from alexnet.data.split_names import split_kinds
from alexnet.errors import DataError
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.predict import find_images
from alexnet.explorer.images import open_collections
from alexnet.models.build import build_model
from alexnet.recipes.named import LENET
from alexnet.serving.tarball import read_archive
from harness.small_runs import TINY


def tree(root: Path, *paths: str) -> Path:
    """Empty files: sources are listed, never decoded."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 30)).save(path)


def of(*folders: str, names=("1.jpg", "2.jpg")) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for folder in folders for name in names)


def split(*parts: str, classes=("a", "b"), names=("1.jpg", "2.jpg")) -> tuple[str, ...]:
    return tuple(path for part in parts for each in classes for path in of(f"{part}/{each}", names=names))


def read(root: Path) -> tuple[tuple[str, ...], dict[str, dict[str, str]]]:
    """The classes, and split -> image -> class."""
    source = open_source(root)
    return source.class_names, {
        name: {image: source.class_names[label] for image, label in zip(part.names, part.labels, strict=True)}
        for name, part in source.splits.items()
    }


# --- splits ----------------------------------------------------------------------------------------------------------

# The folders of train, val and test; the last one is None, or val, where there is no third.
SPLITS = {
    "brain-tumor-mri": ("Training", None, "Testing"),
    "mnist_png": ("training", None, "testing"),
    "intel": ("seg_train/seg_train", None, "seg_test/seg_test"),
    "superdatascience": ("training_set/training_set", None, "test_set/test_set"),
    "sets": ("training_set", "validation_set", "test_set"),
    "images": ("train_images", "val_images", "test_images"),
    "camels": ("TrainData", "ValData", "TestData"),
    "capitals": ("TRAIN", "VALID", "TEST"),
    "dev and eval": ("train", "dev", "test"),
    "eval": ("train", "eval", None),
    "hold-out": ("Train", None, "Hold-out"),
    "holdout": ("training", "validation", "holdout"),
    "coco years": ("train2017", "val2017", None),
    "numbered": ("1_train", "2_val", "3_test"),
    "numbered with signs": ("01 - Training", "02 - Validation", "03 - Test"),
    "a common word": ("flowers_train", "flowers_valid", "flowers_test"),
    "x": ("X_train", "X_val", "X_test"),
    "trainval": ("trainval", None, "test"),
    "Chinese": ("训练集", "验证集", "测试集"),
    "Chinese data": ("训练数据", "验证数据", "测试数据"),
    "Chinese, traditional": ("訓練", "驗證", "測試"),
    "Japanese": ("訓練データ", "検証データ", "テストデータ"),
    "Korean": ("학습용", "검증용", "테스트용"),
    "Spanish": ("Entrenamiento", "Validación", "Prueba"),
    "Spanish data": ("Datos de entrenamiento", "Datos de validación", "Datos de prueba"),
    "Portuguese": ("treino", "validação", "teste"),
    "French": ("apprentissage", "validation", "test"),
    "French, accents": ("Entraînement", "Validation", "Test"),
    "Italian": ("addestramento", "validazione", "prova"),
    "German": ("Training-Daten", "Validierungsdaten", "Testdaten"),
    "Turkish": ("eğitim", "doğrulama", "test"),
    "Russian": ("Обучение", "Валидация", "Тест"),
    "Russian sets": ("Обучающая выборка", "Проверочная выборка", "Тестовая выборка"),
    "Polish": ("treningowe", "walidacyjne", "testowe"),
    "Vietnamese": ("huấn luyện", "kiểm định", "kiểm tra"),
    "Arabic": ("تدريب", "تحقق", "اختبار"),
    "Greek": ("εκπαίδευση", "επικύρωση", "δοκιμή"),
    "Thai": ("ฝึกอบรม", "ตรวจสอบ", "ทดสอบ"),
    "Indonesian": ("latihan", "validasi", "uji"),
}


@pytest.mark.parametrize("nested", ["", "dataset/", "archive/data/"])
@pytest.mark.parametrize("layout", SPLITS)
def test_parts_of_a_split_are_splits_in_any_words(layout, nested, tmp_path):
    train, val, test = SPLITS[layout]
    parts = [part for part in (train, val, test) if part]
    root = tree(tmp_path / "dataset", *(nested + path for path in split(*parts)))
    classes, splits = read(root)
    assert classes == ("a", "b")
    names = {"train": train, "val": val or test} | ({"test": test} if val and test else {})
    assert {name: set(images) for name, images in splits.items()} == {
        name: {f"{nested}{part}/{label}/{i}.jpg" for label in "ab" for i in "12"} for name, part in names.items()
    }
    assert all(image.split("/")[-2] == label for images in splits.values() for image, label in images.items())
    if train.lower() != "train" or nested:
        assert sum("is train" in note or "images are read from" in note for note in open_source(root).notes) > 0


def test_a_prediction_set_and_lists_beside_a_split_are_not_used(tmp_path):
    paths = (*split("seg_train/seg_train", "seg_test/seg_test"), *of("seg_pred/seg_pred"), "readme.txt")
    root = tree(tmp_path, *paths)
    classes, splits = read(root)
    assert (classes, set(splits)) == (("a", "b"), {"train", "val"})
    assert "seg_pred lies beside seg_train and is not used" in " ".join(open_source(root).notes)


def test_test_beside_its_classes_and_splits_below_classes(tmp_path):
    _, splits = read(tree(tmp_path / "beside", *of("cat", "dog"), *of("test/cat", "test/dog")))
    assert set(splits["train"]) == set(of("cat", "dog"))
    assert set(splits["val"]) == set(of("test/cat", "test/dog"))
    root = tree(tmp_path / "below", *of("cat/train", "cat/test", "dog/train", "dog/test"))
    classes, splits = read(root)
    assert classes == ("cat", "dog")
    assert splits["train"] == {p: p[:3] for p in of("cat/train", "dog/train")}
    assert splits["val"] == {p: p[:3] for p in of("cat/test", "dog/test")}


REFUSED = {
    "in an unknown language": (split("opleiding", "toets"), "E367", "a, b"),
    "PlantVillage": (split("color", "grayscale", "segmented", classes=("Apple", "Corn")), "E367", "Apple, Corn"),
    "folds": (split("fold1", "fold2", "fold3"), "E367", "a, b"),
    "folds without classes": (of("fold_1", "fold_2"), "E367", "no class folders"),
    "Chinese folds": (split("第1折", "第2折"), "E367", "a, b"),
    "batches": (split("batch_a", "batch_b", classes=("cat", "dog", "owl")), "E367", "cat, dog, owl"),
    "nested in each": (split("part-p/part-p", "part-q/part-q"), "E367", "a, b"),
    "a class missing in one": ((*split("deel1", "deel2", classes=("x", "y")), *of("deel1/z")), "E367", "x, y"),
    "test without labels beside classes": (of("cat", "dog", "test"), "E368", "cat, dog"),
    "validation beside classes": (of("cat", "dog", "validation"), "E368", "cat, dog"),
    "a test set of other classes": ((*of("cat", "dog"), *split("test_set")), "E368", "cat, dog"),
    "training beside classes": (of("cat", "dog", "training"), "E368", "cat, dog"),
    "测试集 beside classes": (of("猫", "狗", "测试集"), "E368", "狗"),
    "flat parts": (of("train", "test"), "E314", "no class folders"),
    "flat parts, Chinese": (of("训练集", "测试集"), "E314", "no class folders"),
    "two of one split": (split("train", "training_set", "test"), "E317", "train/ and training_set/"),
    "no train": (split("validation", "测试集"), "E312", "no train/"),
    "test beside an unknown word": (split("opleiding", "test"), "E367", "a, b"),
    "detection": ((*of("images/train", "images/val"), "labels/train/1.txt"), "E314", "no class folders"),
    "images and masks": ((*of("images"), *of("masks", names=("1.png", "2.png"))), "E314", "no class folders"),
    "VOC": ((*of("JPEGImages"), *of("SegmentationClass"), "Annotations/1.xml"), "E314", "no class folders"),
    "names of a camera": (("IMG_1.jpg", "IMG_2.jpg", "DSC_1.jpg", "DSC_2.jpg"), "E314", "no labels"),
    "names of parts": (("train_1.jpg", "train_2.jpg", "test_1.jpg", "test_2.jpg"), "E314", "no labels"),
    "names that are all different": (("red_1.jpg", "green_2.jpg", "blue_3.jpg"), "E314", "no labels"),
}  # fmt: skip


@pytest.mark.parametrize("layout", REFUSED)
def test_what_may_be_a_split_is_refused_with_its_classes_and_what_to_do(layout, tmp_path):
    paths, code, said = REFUSED[layout]
    with pytest.raises(DataError, match=said) as caught:
        open_source(tree(tmp_path, *paths))
    assert caught.value.code == code
    assert caught.value.fix
    assert "remove" not in caught.value.fix


# --- innocent twins --------------------------------------------------------------------------------------------------

CLASSES = {
    "vehicles": (of("car", "train", "bus"), ("bus", "car", "train")),
    "things of a laboratory": (of("test tube", "flask"), ("flask", "test tube")),
    "stamps": (of("validation stamp", "date stamp"), ("date stamp", "validation stamp")),
    "toy trains": (of("model train", "toy train", "real train"), ("model train", "real train", "toy train")),
    "words with a part in them": (of("contest", "protest", "latest"), ("contest", "latest", "protest")),
    "shoes": (of("trainers", "boots"), ("boots", "trainers")),
    "trains": (of("trains", "planes"), ("planes", "trains")),
    "deeds": (of("learning", "dancing", "eating"), ("dancing", "eating", "learning")),
    "fold": (of("fold", "crease", "tear"), ("crease", "fold", "tear")),
    "masks": (of("with_mask", "without_mask"), ("with_mask", "without_mask")),
    "photos and drawings": (of("photos", "drawings"), ("drawings", "photos")),
    "views": (split("apple", "pear", classes=("front", "side")), ("apple", "pear")),
    "day and night": (split("apple", "pear", "fig", classes=("day", "night")), ("apple", "fig", "pear")),
    "years": (split("apple", "pear", classes=("2019", "2020", "2021")), ("apple", "pear")),
    "one common sub-folder": (split("n01", "n02", classes=("images",)), ("n01", "n02")),
    "a sub-folder in some": ((*of("cat", "dog"), *of("cat/misc", "dog/misc", "dog/more")), ("cat", "dog")),
    "different sub-folders": ((*of("cat/tabby", "cat/siam"), *of("dog/poodle", "dog/pug")), ("cat", "dog")),
    "images deep in train": (split("train/apple", "train/pear", classes=("sunny", "cloudy")), ("apple", "pear")),
    "numbers": (of("0", "1", "2"), ("0", "1", "2")),
    "unzipped twice": (of("dataset/cat", "dataset/dog"), ("cat", "dog")),
    "in images/ with lists beside": ((*of("images/cat", "images/dog"), "meta/classes.txt"), ("cat", "dog")),
    "in Images/ with Annotation/": ((*of("Images/cat", "Images/dog"), "Annotation/cat/1"), ("cat", "dog")),
}  # fmt: skip


@pytest.mark.parametrize("layout", CLASSES)
def test_classes_that_look_like_parts_are_classes(layout, tmp_path):
    paths, expected = CLASSES[layout]
    source = open_source(tree(tmp_path / "dataset", *paths))
    assert source.class_names == expected
    images = [name for part in source.splits.values() for name in part.names]
    assert sorted(images) == sorted(path for path in paths if path.endswith(".jpg"))


def test_a_class_called_train_and_views_are_said_in_one_line(tmp_path):
    notes = open_source(tree(tmp_path / "a", *of("car", "train", "bus"))).notes
    assert sum("train is taken for a class" in note for note in notes) == 1
    notes = open_source(tree(tmp_path / "b", *split("apple", "pear", classes=("front", "side")))).notes
    assert sum("front, side lie in several classes" in note for note in notes) == 1


# --- labels that are not folders -------------------------------------------------------------------------------------

IN_NAMES = {
    "dogs-vs-cats": ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.12.jpg"),
    "underscore": ("cat_001.jpg", "cat_002.jpg", "dog_001.jpg", "dog_002.jpg"),
    "hyphen": ("cat-1.png", "cat-2.png", "dog-1.png", "dog-2.png"),
    "nothing between": ("cat1.png", "cat2.png", "dog1.png", "dog2.png"),
    "as Windows renames": ("cat (1).jpg", "cat (2).jpg", "dog (1).jpg", "dog (2).jpg"),
    "Oxford pets": (
        "images/cat_1.jpg",
        "images/cat_12.jpg",
        "images/dog_1.jpg",
        "images/dog_2.jpg",
        "annotations/x.xml",
    ),
    "pets with trimaps": (
        *("images/cat_1.jpg", "images/cat_2.jpg", "images/dog_1.jpg", "images/dog_2.jpg"),
        *("annotations/trimaps/cat_1.png", "annotations/trimaps/dog_1.png", "annotations/README"),
    ),
}


@pytest.mark.parametrize("layout", IN_NAMES)
def test_labels_in_names_of_files(layout, tmp_path):
    root = tree(tmp_path, *IN_NAMES[layout])
    classes, splits = read(root)
    assert classes == ("cat", "dog")
    images = {image: label for part in splits.values() for image, label in part.items()}
    assert images == {name: "cat" if "cat" in name else "dog" for name in IN_NAMES[layout] if "annotations" not in name}
    assert "the class is taken from the name of each file" in " ".join(open_source(root).notes)


def test_labels_in_names_within_a_split(tmp_path):
    root = tree(tmp_path, *(f"train/{n}.{i}.jpg" for n in ("cat", "dog") for i in range(5)), *of("test1"))
    classes, splits = read(root)
    assert (classes, set(splits)) == (("cat", "dog"), {"train", "val"})
    assert not any("test1" in image for part in splits.values() for image in part)


def test_lists_beside_images_divide_them(tmp_path):
    root = tree(tmp_path, *split("images", classes=("pie", "soup")))
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text("pie/1\nsoup/1\n")
    (root / "meta" / "test.txt").write_text("pie/2\nsoup/2\n")
    _, splits = read(root)
    assert splits["train"] == {"images/pie/1.jpg": "pie", "images/soup/1.jpg": "soup"}
    assert splits["val"] == {"images/pie/2.jpg": "pie", "images/soup/2.jpg": "soup"}


def test_a_class_that_lists_give_no_training_image_is_refused(tmp_path):
    root = tree(tmp_path, *split("images", classes=("pie", "soup", "tart")))
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text("pie/1\nsoup/1\n")
    (root / "meta" / "test.txt").write_text("pie/2\nsoup/2\ntart/1\n")
    with pytest.raises(DataError, match="tart") as caught:
        open_source(root)
    assert caught.value.code == "E318"


FILES = ("x/1.jpg", "x/2.jpg", "y/3.jpg", "y/4.jpg")
TABLES = {
    "filename,label": "filename,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n4.jpg,dog\n",
    "columns in another order": "label,filename\ncat,1.jpg\ndog,2.jpg\ncat,3.jpg\ndog,4.jpg\n",
    "id and breed, no ending": "id,breed\n1,cat\n2,dog\n3,cat\n4,dog\n",
    "semicolons": "image;class\nx/1.jpg;cat\nx/2.jpg;dog\ny/3.jpg;cat\ny/4.jpg;dog\n",
    "tabs and other columns": "n\tpath\twidth\tCategory\n1\tx/1.jpg\t9\tcat\n2\tx/2.jpg\t9\tdog\n3\ty/3.jpg\t9\tcat\n"
    "4\ty/4.jpg\t9\tdog\n",
    "no header": "x/1.jpg,cat\nx/2.jpg,dog\ny/3.jpg,cat\ny/4.jpg,dog\n",
    "paths of another machine": "file_name,target\n/content/data/x/1.jpg,cat\n/content/data/x/2.jpg,dog\n"
    "/content/data/y/3.jpg,cat\n/content/data/y/4.jpg,dog\n",
    "Windows paths and a mark": "\ufeffImage Name,Class Name\nx\\1.jpg,cat\nx\\2.jpg,dog\ny\\3.jpg,cat\ny\\4.jpg,dog\n",
    "quoted": '"filename","label"\n"1.jpg","cat"\n"2.jpg","dog"\n"3.jpg","cat"\n"4.jpg","dog"\n',
    "one column for each class": "image,cat,dog\n1,1.0,0.0\n2,0.0,1.0\n3,1,0\n4,0,1\n",
    "Chinese": "文件名,类别\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n4.jpg,dog\n",
    "a line too many and an empty one": "filename,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n4.jpg,dog\n9.jpg,cat\n\n",
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_labels(table, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(TABLES[table], "utf-8")
    source = open_source(tree(tmp_path / "images", *FILES), labels=file)
    assert source.class_names == ("cat", "dog")
    labels = {n: source.class_names[i] for p in source.splits.values() for n, i in zip(p.names, p.labels, strict=True)}
    assert labels == dict(zip(FILES, ("cat", "dog", "cat", "dog"), strict=True))
    assert any(note.startswith(f"labels are from {file}") for note in source.notes)


def test_a_table_may_name_the_splits(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("split,file,label\nTraining,1.jpg,cat\nTraining,2.jpg,dog\nTest,3.jpg,cat\nvalid,4.jpg,dog\n")
    source = open_source(tree(tmp_path / "images", *FILES), labels=file)
    assert {name: part.names for name, part in source.splits.items()} == {
        "train": ("x/1.jpg", "x/2.jpg"), "val": ("y/4.jpg",), "test": ("y/3.jpg",)}  # fmt: skip


def test_a_column_that_names_no_splits_is_said_not_to_be_used(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("set,file,label\nA,1.jpg,cat\nA,2.jpg,dog\nB,3.jpg,cat\nB,4.jpg,dog\n")
    source = open_source(tree(tmp_path / "images", *FILES), labels=file)
    assert source.draw is not None
    assert "the column set of labels.csv names no splits and is not used" in source.notes


WRONG_TABLES = {
    "none": (None, "E369"),
    "not UTF-8": (b"filename,label\n1.jpg,caf\xe9\n", "E369"),
    "empty": (b"", "E369"),
    "no labels": (b"filename\n1.jpg\n2.jpg\n", "E369"),
    "two that may be labels": (b"filename,p,q\n1.jpg,a,b\n2.jpg,b,a\n", "E369"),
    "other images": (b"filename,label\n7.jpg,cat\n8.jpg,dog\n", "E370"),
    "two labels": (b"filename,label\n1.jpg,cat\n1.jpg,dog\n2.jpg,dog\n", "E371"),
    "an unknown split": (b"filename,label,split\n1.jpg,cat,train\n2.jpg,dog,train\n3.jpg,cat,tset\n", "E378"),
    "a split that is missing": (b"filename,label,split\n1.jpg,cat,train\n2.jpg,dog,train\n3.jpg,cat,\n", "E378"),
    "two splits": (b"filename,label,split\n1.jpg,cat,train\n2.jpg,dog,train\n1.jpg,cat,test\n", "E378"),
    "a class without training images": (b"file,label,split\n1.jpg,cat,train\n2.jpg,dog,train\n3.jpg,owl,val\n", "E318"),
}


@pytest.mark.parametrize("table", WRONG_TABLES)
def test_wrong_tables(table, tmp_path):
    content, code = WRONG_TABLES[table]
    if content is not None:
        (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_source(tree(tmp_path / "images", *FILES), labels=tmp_path / "labels.csv")
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_table_that_has_no_end_is_not_read(kind, tmp_path):
    tree(tmp_path / "all", "1.png", "2.png")
    table = {"pipe": tmp_path / "table.csv", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(table)
    with pytest.raises(DataError, match="E369"):
        open_source(str(tmp_path / "all"), labels=table)


def test_a_name_that_two_images_have_is_none(tmp_path):
    (tmp_path / "labels.csv").write_text("filename,label\n1.jpg,cat\nb/1.jpg,dog\nb/2.jpg,cat\n")
    source = open_source(
        tree(tmp_path / "i", "a/1.jpg", "b/1.jpg", "b/2.jpg"), val_share=0, labels=tmp_path / "labels.csv"
    )
    assert source.splits["train"].names == ("b/2.jpg", "b/1.jpg")
    assert "1 lines of labels.csv name images that are not there: 1.jpg" in source.notes


# --- nobody's images -------------------------------------------------------------------------------------------------

RUN = ("recipe.json", "classes.json", "data.json", "environment.json", "metrics.jsonl")
FOREIGN = (
    *("._1.jpg", ".DS_Store", "cat/._1.jpg", "__MACOSX/cat/._1.jpg", "cat/.ipynb_checkpoints/1-checkpoint.jpg"),
    *(".thumbnails/1.jpg", "cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "@eaDir/x.jpg", "Thumbs.db", "cat/Thumbs.db"),
    *("$RECYCLE.BIN/S-1/1.jpg", "System Volume Information/x.jpg", "lost+found/1.jpg", "#recycle/1.jpg", "desktop.ini"),
    *("__pycache__/1.png", ".git/1.png", ".Trash-1000/files/1.jpg", ".venv/1.png", "LOST.DIR/1.jpg"),
    *(f"runs/2026-11-24-1530-photos/{name}" for name in RUN),
    *(f"runs/old/{name}" for name in ("classes.json", "environment.json")),
    *(f"run1/{name}" for name in RUN),
    *("cat/run2/recipe.json", "cat/run2/classes.json", "cat/run2/filters.png"),
    *("doctor/2026-photos/doctor.json", "doctor/2026-photos/exclude.jsonl", "doctor/2026-photos/doctor.html"),
    *("prepared/prepared.json", "prepared/mean.png", "half/preparing.json"),
    *("net-hf/config.json", "net-hf/model.safetensors", "env/pyvenv.cfg", "env/lib/mpl/home.png"),
    *("ablations/photos/rows.jsonl", "ablations/photos/effects.svg", "ablations/photos/runs/a/recipe.json"),
)
WANTED = (*of("cat"), *of("dog"))


def test_foreign_files_are_neither_images_nor_classes_and_counted_in_one_note(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "photos" / "my-cache"))
    root = tree(tmp_path / "photos", *WANTED, *FOREIGN, "my-cache/downloads/set/1.jpg")
    classes, splits = read(root)
    assert classes == ("cat", "dog")
    assert sorted(image for part in splits.values() for image in part) == sorted(WANTED)
    notes = [note for note in open_source(root).notes if note.startswith("not used of")]
    assert len(notes) == 1
    assert "images in hidden files and folders" in notes[0]
    assert "10 folders that alexnet or Python wrote" in notes[0]


def test_every_way_to_name_images_has_the_one_rule(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    root = tree(tmp_path / "photos", *WANTED, *FOREIGN)
    wanted = [root / name for name in WANTED]
    assert find_images([str(root)]) == wanted
    assert find_images([str(root / "*")]) == wanted
    assert find_images([str(root / "**" / "*.jpg")]) == wanted
    shell = [str(path) for path in sorted(root.glob("*")) if not path.name.startswith(".")]
    assert find_images(shell) == wanted
    assert sorted(Tree().below(root).images) == wanted
    used, notes = without_foreign((*WANTED, *FOREIGN), Path("the archive"))
    assert used == list(WANTED)
    assert len(notes) == 1
    assert notes[0].startswith("not used of the archive: ")


def test_a_foreign_name_that_was_typed_is_searched(tmp_path):
    root = tree(tmp_path, "@eaDir/1.jpg", ".hidden/2.jpg", *(f"run/{name}" for name in (*RUN, "3.png")))
    for name, image in (("@eaDir", "1.jpg"), (".hidden", "2.jpg"), ("run", "3.png")):
        assert find_images([str(root / name)]) == [root / name / image]


INNOCENT = (
    "runs/1.jpg",
    "doctor/1.jpg",
    "cache/1.jpg",
    "prepared/1.jpg",
    "thumbs/1.jpg",
    "recycle/1.jpg",
    "eadir/1.jpg",
)


def test_classes_that_are_called_like_folders_of_ours_are_classes(tmp_path):
    root = tree(tmp_path, *INNOCENT, *(path.replace("1", "2") for path in INNOCENT), "runs/recipe.json")
    assert open_source(root).class_names == tuple(sorted(path.split("/")[0] for path in INNOCENT))


def test_an_unreadable_system_folder_is_no_error(tmp_path, monkeypatch):
    root, scandir = tree(tmp_path, *WANTED, "lost+found/x.jpg"), os.scandir

    def refuse(path="."):
        if "lost+found" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert open_source(root).class_names == ("cat", "dog")


# --- names -----------------------------------------------------------------------------------------------------------


def test_names_are_compared_in_nfc_and_shown_as_they_are(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    root = tree(tmp_path / "a", *split("train", classes=(apart, "tea")), *split("val", classes=(composed, "tea")))
    classes, splits = read(root)
    assert classes == (apart, "tea")
    assert set(splits["val"].values()) == {apart, "tea"}
    both = tree(tmp_path / "b", *of(composed, apart, "tea"))
    classes, splits = read(both)
    assert len(classes) == 2
    assert sum(map(len, splits.values())) == 6


def test_the_order_of_numbered_classes_is_said_where_it_is_not_that_of_numbers(tmp_path):
    source = open_source(tree(tmp_path / "a", *of(*map(str, range(12)))))
    assert source.class_names == ("0", "1", "10", "11", *"23456789")
    assert any("order of their names as text: 0, 1, 10, 11, 2 and 7 more" in note for note in source.notes)
    for names in (("0", "1", "2"), ("00", "01", "10"), ("cat", "dog")):
        source = open_source(tree(tmp_path / names[1], *of(*names)))
        assert not any("order of their names" in note for note in source.notes)


def test_parts_of_a_split_by_their_names_alone():
    assert split_kinds(["train", "car", "bus"]) == {"train": "train"}
    assert split_kinds(["cats_train", "cats_test"]) == {"cats_train": "train", "cats_test": "test"}
    assert split_kinds(["validation stamp", "date stamp"]) == {}


# --- the verbs -------------------------------------------------------------------------------------------------------


def test_every_verb_the_service_and_the_page_leave_out_the_same(trained, alexnet, tmp_path, monkeypatch):
    """Planted copies of an image, which every way that looked at them would count."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    shutil.copytree(trained / "photos", root)
    image = (root / "red" / "0.png").read_bytes()
    for name in FOREIGN:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image)
    wanted = {path.relative_to(trained / "photos").as_posix() for path in (trained / "photos").rglob("*.png")}
    model = face.load(trained / "run", device="cpu")

    def names(paths) -> set[str]:
        return {Path(path).relative_to(root).as_posix() for path in paths}

    assert sum(alexnet_counts(face.prepare(root, tmp_path / "prepared", size=24))) == len(wanted)
    assert sum(face.load_data(root, size=24).summary()["images"].values()) == len(wanted)
    assert {name for part in open_source(root).splits.values() for name in part.names} == wanted
    assert names(each.path for each in model.predict(root)) == wanted
    assert names(model.features(root, layer="fc7").paths) == wanted
    assert model.evaluate(root).count == len(wanted)
    found = model.similar(root / "red" / "0.png", index=root, k=len(wanted) - 1)
    assert names(path for path, _ in found.answers[0].found) == wanted - {"red/0.png"}
    examined = face.examine(root, out=tmp_path / "findings")
    assert sum(examined.record()["images"].values()) == len(wanted)
    assert any("run1/ was written by alexnet" in line for line in examined.record()["hidden_or_empty"])
    (index,) = open_collections(None, model.class_names, root, 24)
    assert set(index.names) == wanted
    assert {name for name, _ in read_archive(tar_of(root), limit=1000).files} == wanted
    outcome = alexnet("predict", trained / "run", root, "--format", "csv", "-k", "1")
    assert (outcome.code, outcome.out.count("\n")) == (0, 1 + len(wanted))
    assert outcome.err.count("not used of") == 1


def alexnet_counts(report) -> list[int]:
    return [count for counts in report.counts.values() for count in counts.values()]


def tar_of(root: Path) -> bytes:
    """As `tar -c *` in the folder writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(root.rglob("*")):
            archive.add(path, path.relative_to(root).as_posix(), recursive=False)
    return buffer.getvalue()


def test_a_folder_with_some_of_the_classes_is_evaluated_by_name(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    model = face.load(trained / "run", device="cpu")
    whole = model.evaluate(shutil.copytree(trained / "photos", tmp_path / "whole"))
    for classes in (("red",), ("blue",), ("red", "green"), ("red", "blue")):
        root = tmp_path / "-".join(classes)
        for name in classes:
            shutil.copytree(trained / "photos" / name, root / name)
        (root / "green").mkdir(exist_ok=True)  # an empty folder is no class here
        result = model.evaluate(root)
        assert {result.class_names[label] for label in result.labels} == set(classes)
        assert result.count == 10 * len(classes)
        by_name = dict(zip((Path(n).parts[-2:] for n in whole.names), whole.probabilities, strict=True))
        for name, label, row in zip(result.names, result.labels, result.probabilities, strict=True):
            assert result.class_names[label] == Path(name).parts[-2]
            np.testing.assert_allclose(row, by_name[Path(name).parts[-2:]], atol=1e-5)


def test_classes_of_a_run_are_known_in_either_form(tmp_path):
    network = build_model(replace(LENET.model, num_classes=2), seed=0)
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    for name in (composed, apart):
        for i in range(2):
            write_image(tmp_path / name.encode().hex() / name / f"{i}.png")
            write_image(tmp_path / name.encode().hex() / "tea" / f"{i}.png")
        source = open_source(tmp_path / name.encode().hex(), val_share=0)
        prepare(source, tmp_path / f"out-{name.encode().hex()}", size=28)
        images = open_prepared(tmp_path / f"out-{name.encode().hex()}")
        result = evaluate(network, images, "train", class_names=("tea", composed))
        assert result.labels.tolist() == [1, 1, 0, 0]


def test_training_and_evaluating_with_a_table_of_labels(trained, alexnet, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    flat, rows = tmp_path / "flat", []
    flat.mkdir()
    for number, path in enumerate(sorted((trained / "photos").rglob("*.png"))):
        shutil.copy(path, flat / f"{number:03}.png")
        rows.append(f"{path.parent.name},{number:03}")
    (tmp_path / "labels.csv").write_text("colour,image\n" + "\n".join(rows) + "\n")
    table = ("--labels", tmp_path / "labels.csv")
    outcome = alexnet("train", flat, *TINY, "epochs=1", *table, "--out", tmp_path / "run", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert face.Run.open(tmp_path / "run").class_names == ("blue", "green", "red")
    shutil.rmtree(tmp_path / "cache")  # the run knows its table
    assert alexnet("evaluate", tmp_path / "run", "--device", "cpu").code == 0
    evaluated = json.loads(alexnet("evaluate", trained / "run", flat, *table, "--format", "json").out)
    assert {name: each["images"] for name, each in evaluated["classes"].items()} == {"blue": 10, "green": 10, "red": 10}
    assert alexnet("doctor", flat, *table, "--out", tmp_path / "doctor").code == 0
    assert alexnet("prepare", flat, tmp_path / "prepared", *table, "--size", "24").code == 0
    data = face.load_data(flat, size=24, labels=tmp_path / "labels.csv")
    assert data.class_names == ("blue", "green", "red")
