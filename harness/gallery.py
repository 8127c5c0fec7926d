"""Makes the run of the gallery, which the package ships, from a trained run: `python -m harness.gallery RUN`.

Shipped are the best weights without what resuming needs, the record of the training, and a few prepared images with
the statistics of all images that were trained on. docs/gallery.md says how the run was trained.
"""

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data import dataset
from alexnet.data.dataset import Prepared, read_facts
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.data.shards import canonical
from alexnet.explorer.images import GALLERY
from alexnet.runs.checkpoint import METRICS, MODEL, STATE, checkpoint_name
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import images_of_run
from alexnet.storage.checksums import SUMS, lines, sums_of
from alexnet.storage.files import file_sha256

DATA = {
    "source": "clothing-dataset-small by Alexey Grigorev, https://github.com/alexeygrigorev/clothing-dataset-small",
    "license": "images: CC0 1.0, free for all uses; weights: Apache-2.0, as alexnet",
}
A_CLASS = {"train": 1, "test": 2}  # images of each class that are shipped
JPEG_QUALITY = 85


def some(prepared: Prepared, split: str, count: int) -> Samples:
    """The first images of each class of a split."""
    images = prepared.splits[split]
    rows = np.concatenate(
        [np.flatnonzero(images.labels == label)[:count] for label in range(len(prepared.class_names))]
    )
    return Samples(tuple(images.names[i] for i in rows), images.labels[rows], arrays=images.read(rows))


def write_images(prepared: Prepared, folder: Path) -> str:
    """Prepares some of the images again, with the statistics of all of them; returns the fingerprint of these."""
    source = Source(DATA["source"], prepared.class_names, {k: some(prepared, k, n) for k, n in A_CLASS.items()})
    prepare(source, folder, size=prepared.size, encoding="jpeg", jpeg_quality=JPEG_QUALITY)
    facts = read_facts(folder)
    with (folder / dataset.MEAN_IMAGE).open("wb") as file:  # in whole gray levels it takes little room in a package
        np.save(file, np.rint(prepared.mean_image).astype(np.float32), allow_pickle=False)
    facts["mean_image_sha256"] = file_sha256(folder / dataset.MEAN_IMAGE)
    facts["statistics"] = {
        key: getattr(prepared, key).tolist() for key in ("channel_mean", "channel_std", "color_stdevs", "color_vectors")
    }
    facts["checksum"] = hashlib.sha256(canonical(facts)).hexdigest()
    (folder / dataset.PREPARED).write_bytes(canonical(facts))
    return str(facts["fingerprint"])


def write_checkpoint(run: RunFolder, out: Path) -> None:
    """Writes the best weights as the only checkpoint, without the state of the optimizer."""
    name = checkpoint_name(run, "BEST")
    assert name is not None
    (out / "checkpoints" / name).mkdir(parents=True)
    contents = {each: (run.folder / "checkpoints" / name / each).read_bytes() for each in (MODEL, STATE, METRICS)}
    for each, content in {**contents, SUMS: sums_of(contents)}.items():
        (out / "checkpoints" / name / each).write_bytes(content)
    pointer = f"{name} {hashlib.sha256(sums_of(contents)).hexdigest()}\n"
    for each in ("BEST", "LAST"):
        (out / each).write_text(pointer)


def pack(run: RunFolder, out: Path) -> None:
    """Replaces the gallery by this run."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    prepared = images_of_run(run)
    fingerprint = write_images(prepared, out / "images")
    write_checkpoint(run, out)
    environment: dict[str, Any] = json.loads((run.folder / "environment.json").read_text())
    command = environment["command"].replace(run.data["source"], Path(run.data["source"]).name)
    environment["command"] = re.sub(r"--out \S+", "--out gallery", command)
    about = {
        "source": DATA["source"],
        "prepared": "images",  # beside this file
        "fingerprint": fingerprint,
        "license": DATA["license"],
        "sample_of": {
            "fingerprint": prepared.fingerprint,
            "images": {name: len(split) for name, split in prepared.splits.items()},
        },
    }
    for name, value in {"data.json": about, "environment.json": environment}.items():
        (out / name).write_text(json.dumps(value, indent=1, ensure_ascii=False))
    for name in ("recipe.json", "classes.json", "metrics.jsonl"):
        shutil.copy(run.folder / name, out)
    sealed = [
        name
        for name in ("calibration.json", "distribution.safetensors", "evaluation.json")
        if (run.folder / name).is_file()
    ]
    for name in sealed:
        shutil.copy(run.folder / name, out)
    names = ["recipe.json", "classes.json", "data.json", "environment.json", *sealed]
    (out / SUMS).write_bytes(lines({name: file_sha256(out / name) for name in names}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the run of the gallery from a trained run.")
    parser.add_argument("run", type=Path)
    pack(open_run(parser.parse_args().run), GALLERY)
