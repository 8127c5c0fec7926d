"""Every mistake has a code, a fix and a page: each is made for real, and the whole message is compared."""

import ast
import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.launcher.api
from PIL import Image
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

import alexnet
from alexnet import errors
from alexnet.api import records
from alexnet.api import run as api_run
from alexnet.api.fitting import Fitting
from alexnet.api.image_input import list_images
from alexnet.data import image_guard
from alexnet.data.dataset import open_prepared
from alexnet.data.images import read_image
from alexnet.data.open import open_images
from alexnet.data.prepare import prepare
from alexnet.data.public_sets import read_mat
from alexnet.data.remote import open_location
from alexnet.data.samples import Samples, Source
from alexnet.data.sources import open_source
from alexnet.distributed.collectives import ProcessGroup
from alexnet.distributed.launch import check_same_settings, check_scheme, launch, rendezvous_errors
from alexnet.distributed.launchers import refuse_several
from alexnet.distributed.rendezvous import Division, join_rendezvous
from alexnet.distributed.rendezvous import check_out as check_named
from alexnet.evaluation.classifier import Classifier, predict_probabilities
from alexnet.evaluation.ensemble import check_splits
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.predict import find_images
from alexnet.evaluation.promises import promise_of
from alexnet.experiments.ablation import jobs_of
from alexnet.experiments.together import run_jobs
from alexnet.explorer.lesson_routes import site_of
from alexnet.export.backends import of_onnx, of_program, open_backend
from alexnet.export.onnx import onnx_model
from alexnet.export.write import check_out, export_target
from alexnet.interpret.attribution import methods_of
from alexnet.interpret.chances import answer_with_cuts, dropout_trial, exchanges
from alexnet.interpret.features import check_file
from alexnet.interpret.filters import conv1_kernels
from alexnet.interpret.ideas import activation_trials
from alexnet.interpret.image_index import update_index
from alexnet.kernels.device import check_processes, choose_device, failure_of
from alexnet.models.build import build_model
from alexnet.models.network import check_layer
from alexnet.models.shapes import grid_sizes
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.ingredients import variants_of
from alexnet.recipes.named import DEMO, LENET, find_recipe
from alexnet.recipes.named_small import SMALL_PHOTOS
from alexnet.recipes.recipe import for_classes, from_json, override, to_json
from alexnet.report.run_report import write_report
from alexnet.runs.checkpoint import TrainingState, check_room, load_checkpoint, load_model, save_checkpoint
from alexnet.runs.environment import check_conditions
from alexnet.runs.pretrained import check_fingerprint, import_weights, start_from
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.runs.start import images_of_run, start_or_continue
from alexnet.runs.status import ask as ask_training
from alexnet.serving.models import ServedModels
from alexnet.serving.problems import too_many_chunks
from alexnet.serving.start import check_installed
from alexnet.storage import download
from alexnet.storage.checksums import SUMS, lines, read_sums
from alexnet.storage.files import cache_folder, disk_errors, file_error, file_sha256, write_file
from alexnet.storage.locks import only_one
from alexnet.training import replay
from alexnet.training.check import check_network
from alexnet.training.divergence import diverged
from alexnet.training.optim import build_optimizer
from alexnet.training.schedule import check_recipe
from alexnet.weights.identify import identify
from alexnet.weights.onnx import read_onnx
from alexnet.weights.published import read_class_names
from alexnet.weights.read import read_stored
from harness import ROOT
from harness.small_runs import TINY, reseal, write_photos

FOLDER = Path(alexnet.__file__).parent
FILES = [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*.py"))]
ROWS = re.findall(r"^\| (E\d{3,4}) \|(.*)\|$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)


# --- the source ------------------------------------------------------------------------------------------------------


@cache
def nodes_of(module: str) -> list[ast.Call | ast.ClassDef]:
    """Calls and classes of a module of the source."""
    nodes = ast.walk(ast.parse((FOLDER / module).read_text()))
    return [node for node in nodes if isinstance(node, ast.Call | ast.ClassDef)]


@cache
def kinds_of_errors() -> dict[str, int]:
    """Class name -> exit code, of all that derive from AlexNetError, private ones of single modules included."""
    found = {"AlexNetError": errors.AlexNetError.exit_code}
    classes = [node for module in FILES for node in nodes_of(module) if isinstance(node, ast.ClassDef)]
    for _ in classes:
        for node in classes:
            for base in map(ast.unparse, node.bases):
                if base in found:
                    known = getattr(errors, node.name, None)
                    found[node.name] = known.exit_code if known else found[base]
    return found


@cache
def constructions(module: str) -> list[ast.Call]:
    calls = [node for node in nodes_of(module) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).rpartition(".")[2] in kinds_of_errors()]


def codes_of(module: str) -> list[str]:
    keywords = [keyword for call in constructions(module) for keyword in call.keywords if keyword.arg == "code"]
    return [k.value.value for k in keywords if isinstance(k.value, ast.Constant)]


@pytest.mark.parametrize("module", FILES)
def test_every_error_is_made_with_a_code_of_its_class_and_a_fix(module):
    for call in constructions(module):
        given = {k.arg: k.value for k in call.keywords}
        where = f"{module}:{call.lineno}"
        assert {"code", "fix"} <= set(given), where
        code, fix = given["code"], given["fix"]
        if isinstance(code, ast.Attribute):  # the same mistake again, with more words
            assert (code.attr, ast.unparse(fix)) == ("code", f"{ast.unparse(code.value)}.fix"), where
            continue
        assert isinstance(code, ast.Constant), where
        kind = ast.unparse(call.func).rpartition(".")[2]
        assert re.fullmatch(rf"E{kinds_of_errors()[kind]}\d\d\d?", code.value), where
        assert not isinstance(fix, ast.Constant) or fix.value, where


def test_the_page_has_the_codes_of_the_source_and_no_others():
    documented = [code for code, _ in ROWS]
    assert documented == sorted(set(documented), key=lambda code: (code[1], len(code), code))
    assert set(documented) == {code for module in FILES for code in codes_of(module)}


def test_every_row_of_the_page_says_what_and_how():
    for code, row in ROWS:
        meaning, _, advice = (cell.strip() for cell in row.split("|"))
        assert meaning, code
        assert advice, code


# --- how to make each mistake ----------------------------------------------------------------------------------------


class Scene:
    """An empty folder, the command line and a monkeypatch; what it is asked for otherwise is a fixture."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest):
        self.folder, self.get = folder, request.getfixturevalue

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def cli(self, *arguments: object) -> str:
        return str(self.get("alexnet")(*arguments).err.rstrip("\n").removeprefix("alexnet: "))

    def file(self, name: str, content: bytes) -> Path:
        (self / name).write_bytes(content)
        return self / name

    def tree(self, *paths: str) -> Path:
        for path in paths:
            (self / path).parent.mkdir(parents=True, exist_ok=True)
            (self / path).touch()
        return self.folder

    def layers(self, **shapes: tuple[int, ...]) -> Path:
        """A NumPy file with arrays of these shapes; `__` in a name is a dot."""
        arrays = {name.replace("__", "."): np.zeros(shape, np.float32) for name, shape in shapes.items()}
        np.savez(self / "w.npz", **arrays)
        return self / "w.npz"

    def own(self, **changed: torch.Tensor) -> Path:
        """A LeNet as we save it."""
        state = {k: v.contiguous() for k, v in build_model(LENET.model, seed=0).state_dict().items()}
        state |= {name.replace("__", "."): tensor for name, tensor in changed.items()}
        about = f'{{"recipe": {to_json(LENET)}, "classes": []}}'
        safetensors.torch.save_file(state, self / "own.safetensors", {"alexnet": about})
        return self / "own.safetensors"

    def refuse(self, where: object, name: str, error: BaseException) -> None:
        def refusing(*arguments: object, **options: object) -> None:
            raise error

        self.get("monkeypatch").setattr(where, name, refusing)


def small(count: int = 4) -> Source:
    """Gray images of 8 pixels in two classes."""
    labels = np.arange(count, dtype=np.int64) % 2
    pixels = np.zeros((count, 8, 8, 3), np.uint8)
    names = tuple(map(str, range(count)))
    return Source("grey", ("a", "b"), {split: Samples(names, labels, arrays=pixels) for split in ("train", "val")})


def prepared_small(s: Scene) -> Path:
    prepare(small(), s / "out", size=8)
    return s / "out"


def broken_photos(s: Scene, *names: str) -> Source:
    root = write_photos(s / "photos", per_class=3)
    for name in names:
        (root / name).write_bytes(b"nothing")
    return open_source(root)


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    Image.new("RGB", size).save(out := io.BytesIO(), "PNG")
    return out.getvalue()


def far(s: Scene, spoil: Callable[[Path], object] = str, **environment: str) -> object:
    """The first image of `prepared_small`, read through fsspec after something was done to its folder."""
    patch, folder = s.get("monkeypatch"), prepared_small(s)
    for name, value in {"ALEXNET_CACHE": str(s / "cache"), **environment}.items():
        patch.setenv(name, value)
    spoil(folder)
    return open_location(f"file://{folder}", HASTY).splits["train"].read([0])


def refused_by_server(s: Scene) -> object:
    s.refuse(download, "open_address", PermissionError("AccessDenied"))
    return open_location("s3://bucket/set")


def half_finished(s: Scene) -> Path:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(small(), s / "out", size=8, progress=stop)
    return s / "out"


def unlistable(s: Scene) -> object:
    s.tree("photos/a/1.jpg", "photos/b/1.jpg")
    s.refuse(os, "scandir", PermissionError(13, "Permission denied", str(s / "photos")))
    return open_source(s / "photos")


def not_a_number(s: Scene) -> object:
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(s / "nan.tif")
    return read_image(s / "nan.tif")


def strange_version(s: Scene) -> object:
    path = prepared_small(s) / "prepared.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    return open_prepared(s / "out")


def full_disk(s: Scene) -> object:
    usage = type(shutil.disk_usage("."))(10**12, 10**12, 0)
    s.get("monkeypatch").setattr(shutil, "disk_usage", lambda path: usage)
    return prepare(small(), s / "out", size=500)


HASTY = download.Patience(sleep=lambda seconds: None)


def without(package: str, ask: Callable[[], object]) -> Callable[[Scene], object]:
    def go(s: Scene) -> object:
        s.get("monkeypatch").setitem(sys.modules, package, None)
        return ask()

    return go


def offline(s: Scene) -> object:
    import torchvision.datasets

    s.refuse(torchvision.datasets, "CIFAR10", OSError("no network"))
    return open_source("cifar10", downloads=s / "cache")


def broken_card(s: Scene) -> None:
    failure = failure_of(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert failure is not None
    raise failure


def no_memory(s: Scene) -> object:
    s.refuse(records, "find_recipe", MemoryError())
    return s.cli("recipes", "photos")


def forbidden_file(s: Scene) -> object:
    path = s.file("w.npz", b"")
    s.refuse(Path, "open", PermissionError(13, "Permission denied"))
    return read_stored(path)


def report_of(s: Scene, recipe: str | None) -> object:
    if recipe is not None:
        (s / "recipe.json").write_text(recipe)
    return write_report(s.folder, [None], lambda indices: None, None)  # type: ignore[arg-type, list-item]


def external_onnx(s: Scene) -> object:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(np.zeros((1, 1, 3, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    picture = onnx.helper.make_tensor_value_info("x", 1, [1, 1, 3, 3])
    graph = onnx.helper.make_graph([], "g", [picture], [picture], [tensor])
    return read_stored(s.file("w.onnx", onnx.helper.make_model(graph).SerializeToString()))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def hostile_pickle(s: Scene) -> object:
    np.save(s / "w.npy", np.array(Evil(), object), allow_pickle=True)
    return read_stored(s / "w.npy")


def lenet_layers(s: Scene) -> Path:
    shapes = {"c1": (6, 1, 5, 5), "c2": (16, 6, 5, 5), "f3": (120, 400), "f4": (84, 120), "f5": (10, 84)}
    return s.layers(**{f"{name}__weight": shape for name, shape in shapes.items()})


def torchscript(s: Scene) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(s / "w.pt")
    return read_stored(s / "w.pt")


def huge(s: Scene) -> object:
    path = s.file("w.caffemodel", b"")
    os.truncate(path, 1 << 31)
    return read_stored(path)


def single_array(s: Scene) -> object:
    np.save(s / "w.npy", np.zeros((2, 3)))
    return read_stored(s / "w.npy")


def tiny_network() -> Any:
    return build_model(replace(LENET.model, num_classes=2), seed=0)


def ilsvrc(s: Scene, **files: str) -> object:
    s.tree("train/n1/1.JPEG", "train/n2/1.JPEG", "val/v_1.JPEG", "val/v_2.JPEG")
    for name, content in files.items():
        s.file(name.replace("__", "."), content.encode())
    return open_source(s.folder)


TRUTH = "ILSVRC2012_validation_ground_truth__txt"


def ilsvrc_torn(s: Scene) -> object:
    pytest.importorskip("scipy.io").savemat(
        s / "meta.mat",
        {"synsets": np.array([(1, "n1"), (2, "n2")], [("ILSVRC2012_ID", "O"), ("WNID", "O")]).reshape(-1, 1)},
    )
    return ilsvrc(s, **{TRUTH: "1\n"})


def evaluated(s: Scene, split: str, names: tuple[str, ...]) -> object:
    return evaluate(tiny_network(), open_prepared(prepared_small(s)), split, class_names=names)


def of_photos(*paths: str) -> Callable[[Scene], object]:
    return lambda s: open_source(s.tree(*paths))


def labeled(table: bytes) -> Callable[[Scene], object]:
    return lambda s: open_source(s.tree("images/1.jpg", "images/2.jpg") / "images", labels=s.file("labels.csv", table))


def run_of(s: Scene, **about: object) -> RunFolder:
    """A run of `prepared_small` that has not begun."""
    facts = {"source": "grey", "prepared": str(prepared_small(s)), "fingerprint": open_prepared(s / "out").fingerprint}
    recipe = replace(LENET, model=replace(LENET.model, num_classes=2))
    return create_run(s / "run", recipe, ("a", "b"), {**facts, **about})


def saved_run(s: Scene) -> RunFolder:
    run = run_of(s)
    save_checkpoint(run, tiny_network(), {}, TrainingState(step=5))
    return run


def spoilt(s: Scene, name: str) -> RunFolder:
    """A run with a checkpoint, and a file of it that is not what was written."""
    run = saved_run(s)
    (run.folder / name).write_bytes(b"{")
    return run


def of_another_version(s: Scene) -> object:
    run = saved_run(s)
    folder = run.folder / "checkpoints/step-00000005"
    content = (folder / "state.json").read_bytes().replace(b"rollbacks", b"returns")
    (folder / "state.json").write_bytes(content)
    sums = read_sums(folder) | {"state.json": hashlib.sha256(content).hexdigest()}
    (folder / "SHA256SUMS").write_bytes(lines(sums))
    return load_checkpoint(run)


def resealed(s: Scene, name: str, content: bytes) -> Path:
    """The folder of a run in which a file was written by somebody else, checksums included."""
    folder = saved_run(s).folder
    (folder / name).write_bytes(content)
    reseal(folder)
    return folder


def foreign_weights(s: Scene) -> object:
    run = saved_run(s)
    folder = run.folder / "checkpoints/step-00000005"
    (folder / "model.safetensors").write_bytes(safetensors.torch.save({"fc": torch.zeros(2)}))
    reseal(folder)
    (run.folder / "LAST").unlink()
    write_file(run.folder / "BEST", f"{folder.name} {file_sha256(folder / 'SHA256SUMS')}\n".encode())
    return load_model(run)


def thrown(error: Exception) -> object:
    raise error


def in_use(s: Scene) -> object:
    with only_one(s.folder), only_one(s.folder):
        return None


def refused_by_disk(number: int) -> object:
    with disk_errors("saving step 5"):
        raise OSError(number, os.strerror(number))


def no_room(s: Scene) -> object:
    run = saved_run(s)
    usage = type(shutil.disk_usage("."))(10**9, 10**9, 0)
    s.get("monkeypatch").setattr(shutil, "disk_usage", lambda path: usage)
    return check_room(run, 10**6)


def trained_run(s: Scene) -> Path:
    return Path(s.get("trained")) / "run"


def copied_run(s: Scene) -> Path:
    return shutil.copytree(trained_run(s), s / "run")


def no_kernels(s: Scene) -> object:
    run = copied_run(s)
    shutil.rmtree(run / "conv1")
    return s.cli("filters", run, "--over-training")


def damaged_kernels(s: Scene) -> object:
    file = copied_run(s) / "conv1/epoch-00001.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    return s.cli("filters", s / "run", "--over-training")


def without_tensorboard(s: Scene) -> object:
    s.get("monkeypatch").setitem(sys.modules, "torch.utils.tensorboard", None)
    return alexnet.TensorBoard(s.folder)


def other_bytes(s: Scene) -> object:
    found = replay.Replay(4, 3, 2, ("model.safetensors",))
    s.get("monkeypatch").setattr("alexnet.api.run.replay", lambda *arguments: found)
    return s.cli("verify", trained_run(s), "--replay", "--device", "cpu")


def weights_of_a_diverged_run(s: Scene) -> object:
    return identify(s.own(layers__fc3__bias=torch.full((120,), float("nan"))))


def unsound(s: Scene) -> object:
    return s.cli("check", write_photos(s / "photos"), *TINY, "--recipe", "photos", "optim.lr=1000", "--device", "cpu")


def unreported(s: Scene) -> object:
    run = trained_run(s)
    s.refuse(api_run, "report_run", ValueError("no such backend"))
    return s.cli("report", run)


def ended_by_itself(s: Scene) -> object:
    patch = s.get("monkeypatch")
    patch.setattr(replay, "_some_steps", lambda *arguments: None)
    patch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "Trace\nValueError: no\n"))
    return replay.replay(run_of(s), open_prepared(s / "out"), torch.device("cpu"))


def trainable(s: Scene, *changes: str) -> object:
    """Whether photos with these changes, for images of 96 pixels, may be trained on those of 8."""
    recipe = override(find_recipe("photos"), ["model.crop_size=96", "model.test_size=none", *changes])
    return check_recipe(recipe, replace(open_prepared(prepared_small(s)), size=96))


def unreadable_photo(s: Scene) -> object:
    return s.cli("predict", trained_run(s), s.file("a.jpg", b"hello"), "--device", "cpu")


def excluding(line: str | bytes) -> Callable[[Scene], object]:
    """Preparing photos without those of such a list."""

    def go(s: Scene) -> object:
        content = line if isinstance(line, bytes) else line.encode()
        photos = write_photos(s / "photos")
        return s.cli("prepare", photos, s / "out", "--exclude", s.file("list", content))

    return go


def doctored(s: Scene, *arguments: object) -> object:
    return s.cli("doctor", write_photos(s / "photos"), *arguments)


def all_red(s: Scene) -> object:
    photos = write_photos(s / "photos")
    red = [name for name in open_source(photos).splits["train"].names if name.startswith("red")]
    listed = "\n".join(f'{{"split": "train", "name": "{name}"}}' for name in red)
    return s.cli("prepare", photos, s / "out", "--exclude", s.file("list", listed.encode()))


def stranger(s: Scene) -> object:
    photos = write_photos(s / "photos")
    for name in ("red", "green", "blue"):
        (photos / name).rename(photos / f"not {name}")
    return s.cli("doctor", photos, "--out", s / "doctor", "--run", trained_run(s))


def imported(s: Scene) -> Path:
    s.get("alexnet")("import", s.own(), s / "imported")
    return s / "imported"


def two_runs(s: Scene) -> list[Path]:
    return [trained_run(s), Path(shutil.copytree(trained_run(s), s / "again"))]


def decayed(layers: list[list[object]]) -> object:
    recipe = override(find_recipe("cifar-18pct"), [f"optim.layer_decay={json.dumps(layers)}"])
    return build_optimizer(build_model(recipe.model, seed=0), recipe.optim)


class Pair(ProcessGroup):
    """Two processes, of which the other has epochs=4."""

    def all_gather_objects(self, value: Any) -> list[Any]:
        return [value, {"epochs": "4"}]


def gone(said: str) -> None:
    with ProcessGroup("data", 0, 2).watched("gradients"):
        raise RuntimeError(said)


def started_by(parallel: Any = None, **variables: str) -> Callable[[Scene], object]:
    """What one of several processes says that another program started."""

    def go(s: Scene) -> object:
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            s.get("monkeypatch").delenv(name, raising=False)
        for name, value in variables.items():
            s.get("monkeypatch").setenv(name, value)
        return join_rendezvous(Division(parallel=parallel))

    return go


def launched_for(what: str, **variables: str) -> Callable[[Scene], object]:
    """What a process that does something alone says if it is one of several."""

    def go(s: Scene) -> object:
        for name, value in variables.items():
            s.get("monkeypatch").setenv(name, value)
        return refuse_several(what)

    return go


def met_in_vain() -> None:
    with rendezvous_errors():
        raise RuntimeError("The client socket has timed out after 120000ms\nmore")


def another_run(s: Scene) -> object:
    pictures = open_prepared(prepared_small(s))
    recipe = for_classes(DEMO, len(pictures.class_names))
    run = create_run(s / "run", recipe, pictures.class_names, {"fingerprint": pictures.fingerprint})
    return start_or_continue(run.folder, override(recipe, ["epochs=9", "optim.lr=0.1"]), "small", pictures)


def killed_too_often(s: Scene) -> object:
    killed = ChildFailedError("alexnet", {1: ProcessFailure(local_rank=1, pid=1, exitcode=-9, error_file="")})
    s.refuse(torch.distributed.launcher.api, "elastic_launch", killed)
    return launch(["resume", "run"], 2, max_restarts=3, exact=False)


def foreign_onnx(s: Scene) -> object:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    sizes = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    made = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", sizes[:1], sizes[1:]), opset_imports=[onnx.helper.make_opsetid("", 13)]
    )
    made.ir_version = 8
    return open_backend(s.file("f.onnx", made.SerializeToString()))


def even_lrn(s: Scene) -> object:
    pytest.importorskip("onnx")
    return onnx_model(build_model(replace(DEMO.model, lrn_size=4)), 28, "uint8", {})


def lossy(s: Scene) -> object:
    import alexnet.export.write as exporting

    pytest.importorskip("onnxruntime")
    s.get("monkeypatch").setattr(exporting, "MOST_LOSS", -2.0)
    return s.cli("export", trained_run(s), "--out", s / "a.onnx", "--int8")


def searched(s: Scene, folder: Path) -> object:
    return update_index(Classifier(tiny_network(), (), 28), folder, layer="act4")


def other_network(s: Scene) -> Path:
    """An export of the trained run with other weights."""
    assert s.get("alexnet")("export", trained_run(s), "--to", "hf", "--out", s / "hf").code == 0
    path = s / "hf/model.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        metadata, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state["layers.fc8.bias"] += torch.tensor([100.0, 0.0, 0.0])
    safetensors.torch.save_file(state, path, metadata)
    return s / "hf"


def unequal(s: Scene) -> object:
    import alexnet.export.write as exporting

    s.get("monkeypatch").setattr(
        exporting,
        "compute_logits",
        lambda backend, read, count, progress: np.eye(3, dtype=np.float32) * (1.0 if backend.kind == "run" else 2.0),
    )
    return s.cli("export", trained_run(s), "--to", "hf", "--out", s / "hf", "--split", "val")


def asked(
    method: str,
    path: str,
    content: bytes = b"",
    *,
    before: Callable[[Any, Scene], object] | None = None,
    **settings: Any,
) -> Callable[[Scene], object]:
    """What a service of the trained run says to a request; `headers` are settings as well."""
    headers = settings.pop("headers", {})

    def go(s: Scene) -> object:
        httpx = pytest.importorskip("httpx")
        from harness.service_process import in_a_thread

        with in_a_thread(trained_run(s), **settings) as running:
            if before is not None:
                before(running, s)
            return in_words(httpx.request(method, running.url + path, content=content, headers=headers).json())

    return go


def paged(path: str, *, index: Path | None = None) -> Callable[[Scene], object]:
    """What the page of the trained run says at an address."""

    def go(s: Scene) -> object:
        httpx = pytest.importorskip("httpx")
        from harness.service_process import exploring

        run = trained_run(s)
        with exploring(run, index=index) as running:
            return in_words(httpx.get(running.url + path.replace("RUN", run.name), timeout=60).json())

    return go


def untrained(recipe: Any) -> Classifier:
    """A network with its initial weights."""
    return Classifier(
        build_model(recipe.model, seed=0), tuple(map(str, range(recipe.model.num_classes))), recipe.prepare_size
    )


ONE_IMAGE = np.zeros((64, 64, 3), np.uint8)


def imported_only(s: Scene) -> object:
    """A run whose images are gone, and no folder of others."""
    httpx = pytest.importorskip("httpx")
    from harness.service_process import exploring

    copy = copied_run(s)
    about = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps({**about, "imported": {}}))
    (copy / SUMS).write_bytes(lines({name: file_sha256(copy / name) for name in read_sums(copy)}))
    with exploring(copy) as running:
        return in_words(httpx.get(f"{running.url}/explorer/run/patches/conv1/0", timeout=60).json())


def not_ours(s: Scene) -> object:
    """A process that trains and may not be asked."""

    run = RunFolder(s / "run", LENET, (), {})
    run.folder.mkdir()
    with only_one(run.folder):
        s.get("monkeypatch").setattr("alexnet.runs.status.holds_lock", lambda folder, owner: True)
        s.refuse(os, "pidfd_open", PermissionError(1, "Operation not permitted"))
        return ask_training(run, "stop")


def told(first: bytes, **settings: Any) -> Callable[[Scene], object]:
    """What a service says to a connection that sends these bytes and no more."""

    def go(s: Scene) -> object:
        from harness.service_process import answer_of, connect, in_a_thread

        with in_a_thread(trained_run(s), **settings) as running, connect(running.port) as connection:
            connection.sendall(first)
            return in_words(answer_of(connection).json)

    return go


def in_words(problem: dict[str, Any]) -> str:
    return f"{problem['code']} {problem['what']}\n{problem['fix']}"


def fill_queue(running: Any, s: Scene) -> None:
    running.service.queue.taken = running.service.settings.queue


def break_prediction(running: Any, s: Scene) -> None:
    s.refuse(Classifier, "look", ZeroDivisionError())


def taken_port(s: Scene) -> object:
    import socket

    from alexnet.serving.settings import Settings
    from alexnet.serving.start import listen

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return listen(Settings(port=taken.getsockname()[1]))


def stopped_service(s: Scene) -> object:
    """What a client hears that still waits when the service may wait no longer."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    httpx = pytest.importorskip("httpx")
    from alexnet.evaluation.classifier import Classifier
    from harness.service_process import in_a_thread

    begun, go = threading.Event(), threading.Event()

    def waiting(*arguments: object, **options: object) -> list[object]:
        begun.set()
        assert go.wait(60)
        return [None]

    with ThreadPoolExecutor(1) as pool:
        with in_a_thread(trained_run(s), stop_seconds=0) as running:
            s.get("monkeypatch").setattr(Classifier, "look", waiting)
            answer = pool.submit(httpx.post, f"{running.url}/v1/predict", content=png(), timeout=60)
            answer.add_done_callback(lambda _: go.set())
            assert begun.wait(60)
        return in_words(answer.result().json())


def tar(*names: str) -> bytes:
    import tarfile

    with tarfile.open(fileobj=(out := io.BytesIO()), mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return out.getvalue()


# In the order of errors.txt.
def without_home(s: Scene) -> object:
    def no_home(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("ALEXNET_CACHE", "XDG_CACHE_HOME"):
        s.get("monkeypatch").delenv(name, raising=False)
    s.get("monkeypatch").setattr(Path, "expanduser", no_home)
    return cache_folder()


def told_by_main(number: int) -> Callable[[Scene], str]:
    """What the command line says of an error of the system that no verb has explained."""
    return lambda s: str(file_error(OSError(number, os.strerror(number), str(s / "photos"))))


def run_that_is_gone(s: Scene) -> object:
    folder = Path(shutil.copytree(trained_run(s), s / "run"))
    models = ServedModels([folder])
    shutil.rmtree(folder)
    return models.reload()


def guarded_image(name: str, value: object, **more: object) -> Callable[[Scene], object]:
    """A TIFF, which another process decodes, while a part of `image_guard` is not what it is."""

    def read(scene: Scene) -> object:
        for part, other in {name: value, **more}.items():
            scene.get("monkeypatch").setattr(image_guard, part, other)
        buffer = io.BytesIO()
        Image.new("L", (4, 4)).save(buffer, "TIFF")
        return read_image(scene.file("a.tif", buffer.getvalue()))

    return read


def waiting(process: subprocess.Popen[bytes], *_arguments: object) -> None:
    process.wait()
    raise EOFError


def dying(process: subprocess.Popen[bytes], _reply: object) -> None:
    process.kill()
    raise EOFError


MISTAKES: list[tuple[str, Callable[[Scene], object]]] = [
    ("E200", lambda s: s.cli("evalute")),
    ("E201", lambda s: s.cli("evaluate", "RUN", "--view", "10")),
    ("E201", lambda s: find_images(["--top"])),
    ("E202", lambda s: s.cli("train")),
    ("E202", lambda s: s.cli("evaluate", "RUN", "--views")),
    ("E202", lambda s: s.cli("bench")),
    ("E202", lambda s: s.cli("serve")),
    ("E203", lambda s: s.cli("evaluate", "RUN", "--views", "many")),
    ("E203", lambda s: s.cli("prepare", "DATA", "OUT", "--max-pixels", "0")),
    ("E203", lambda s: promise_of(None, 1, 95.0, None)),
    ("E204", lambda s: s.cli("diff", "a", "b", "c")),
    ("E205", lambda s: s.cli("evaluate", "RUN", "--views", "1", "--views", "10")),
    ("E206", lambda s: alexnet.identify(s.own(), mean=0.5)),
    ("E207", lambda s: alexnet.identify(lenet_layers(s), lrn_k=2)),
    ("E208", lambda s: alexnet.identify(lenet_layers(s), std=0)),
    ("E209", lambda s: alexnet.identify(lenet_layers(s), check=write_photos(s / "photos", per_class=2))),
    ("E210", lambda s: find_recipe("phots")),
    ("E211", lambda s: override(DEMO, ["epoch=3"])),
    ("E212", lambda s: override(DEMO, ["optim=3"])),
    ("E213", lambda s: override(DEMO, ["epochs"])),
    ("E214", lambda s: override(DEMO, ["epochs=many"])),
    ("E215", lambda s: from_json(to_json(DEMO).replace('"epochs"', '"colour": 1, "epochs"'))),
    ("E216", lambda s: grid_sizes(AlexNetConfig(crop_size=12))),
    ("E217", lambda s: list_images(3)),
    ("E217", lambda s: list_images(np.zeros((4, 4, 3)))),
    ("E218", lambda s: tiny_network()(torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(0)))),
    ("E219", lambda s: methods_of("shap")),
    ("E220", lambda s: prepare(small(), s / "out", encoding="png")),
    ("E221", lambda s: prepare(small(), s / "out", size=0)),
    ("E222", lambda s: prepare(small(), s / "out", threads=0)),
    ("E223", lambda s: open_source(s.folder, val_share=20)),
    ("E224", lambda s: export_target(None, "tflite", "run")),
    ("E225", lambda s: predict_probabilities(tiny_network(), small().splits["val"].image, 1, views=5)),
    ("E226", without_tensorboard),
    ("E227", lambda s: check_network(tiny_network(), torch.zeros(1, 3, 28, 28), torch.ones(1, 2) / 2, LENET)),
    ("E228", lambda s: s.cli("demo", "--out", s.tree("thesis.txt"))),
    ("E229", lambda s: evaluated(s, "val", ("a", "b"))),
    ("E230", lambda s: read_stored(s / "w.pth")),
    ("E230", lambda s: alexnet.load(s / "runs")),
    ("E230", lambda s: read_stored(s.folder)),
    ("E231", forbidden_file),
    ("E232", lambda s: import_weights(s.own(), s / "run", ("ant", "bee"))),
    ("E233", lambda s: start_from(tiny_network(), build_model(replace(LENET.model, channels=(5, 16))))),
    ("E234", lambda s: alexnet.identify(lenet_layers(s), std=0.5, scale=1)),
    ("E235", lambda s: check_layer(tiny_network(), "fc9")),
    ("E236", lambda s: conv1_kernels(tiny_network())),
    ("E237", even_lrn),
    ("E238", lambda s: check_file(Path("a.csv"))),
    ("E239", lambda s: check_out(s.file("a.onnx", b""), "onnx")),
    ("E240", without("sklearn.datasets", lambda: open_source("digits"))),
    ("E240", without("onnx", lambda: read_onnx(b"", "x.onnx"))),
    ("E240", without("scipy.io", lambda: read_mat(Path("meta.mat")))),
    ("E240", without("onnx", lambda: onnx_model(tiny_network(), 28, "uint8", {}))),
    ("E240", without("onnxruntime", lambda: of_onnx("x.onnx", b""))),
    ("E240", without("uvicorn", lambda: check_installed())),
    ("E241", lambda s: open_backend(s.folder)),
    ("E242", foreign_onnx),
    ("E243", lambda s: s.cli("parity", trained_run(s), imported(s), s.file("a.png", png()))),
    ("E244", lambda s: s.cli("parity", trained_run(s), trained_run(s), s.file("a.jpg", b"hello"))),
    ("E245", lambda s: check_out(s / "a.bin", "torch-export")),
    ("E246", lambda s: s.cli("why", trained_run(s), "a.png", "--class", "dog")),
    ("E247", lambda s: s.cli("why", trained_run(s), s.file("a.png", png()), "--patch", 500)),
    ("E248", lambda s: s.cli("similar", trained_run(s), "a.png", "--index", "photos", "--k", 0)),
    ("E249", lambda s: s.cli("export", trained_run(s), "--to", "hf", "--out", s / "hf", "--int8")),
    ("E250", lambda s: choose_device("tpu")),
    ("E250", lambda s: check_processes(torch.device("mps"), 2)),
    ("E251", in_use),
    ("E252", lambda s: create_run(s.tree("thesis.txt"), LENET, (), {})),
    ("E253", lambda s: open_run(s.folder)),
    ("E254", lambda s: load_model(run_of(s))),
    ("E255", lambda s: check_conditions({"threads": "1"}, {"threads": "2"}, allow=False)),
    ("E256", lambda s: images_of_run(run_of(s, imported={}))),
    ("E257", lambda s: open_images(str(prepared_small(s)), 9)),
    ("E258", lambda s: trainable(s, "growing_crops=[[0, 97]]", "augment.view=crop")),
    ("E258", lambda s: trainable(s, "growing_crops=[]", "model.test_size=80")),
    ("E259", lambda s: trainable(s, "growing_crops=[[0.5, 80], [0, 96]]")),
    ("E260", lambda s: trainable(s, "growing_crops=[]", "mixup=0.6", "cutmix=0.5")),
    ("E261", lambda s: trainable(s, "growing_crops=[]", "old_lr_factor=0.1")),
    ("E262", lambda s: trainable(s, "growing_crops=[]", "batch_size=1")),
    ("E263", lambda s: s.cli("predict", trained_run(s), "a.jpg", "--k", "0")),
    ("E264", lambda s: s.cli("predict", trained_run(s))),
    ("E265", asked("POST", "/v1/predict?views=5")),
    ("E265", asked("POST", "/v1/similar?k=many")),
    ("E265", asked("POST", "/v1/predict?topk=1")),
    ("E266", asked("GET", "/v1/nothing")),
    ("E267", asked("GET", "/v1/predict")),
    ("E268", asked("POST", "/v1/similar", png())),
    ("E269", asked("POST", "/v1/predict?run=other", png())),
    ("E270", lambda s: check_scheme(DEMO, "none", 2, exact=False)),
    ("E270", started_by(RANK="0", WORLD_SIZE="2")),
    ("E270", launched_for("train every run of the ablation", OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="4")),
    ("E271", lambda s: check_same_settings(Pair(), {"epochs": 3})),
    ("E272", lambda s: check_scheme(override(DEMO, ["batch_size=4"]), "data", 8, exact=False)),
    ("E273", lambda s: check_scheme(find_recipe("photos"), "data", 2, exact=True)),
    ("E274", lambda s: check_named(None)),
    ("E275", lambda s: check_scheme(find_recipe("alexnet-2012"), "towers", 3, exact=False)),
    ("E275", lambda s: check_scheme(override(DEMO, ["lrn_per_tower=false"]), "towers", 2, exact=False)),
    ("E276", lambda s: open_source("https://a.org/photos")),
    ("E277", without("aiohttp", lambda: open_location("https://a.org/set"))),
    ("E278", lambda s: open_location("https://me:word@a.org/set")),
    ("E279", lambda s: open_location("gopher://a.org/set")),
    ("E280", lambda s: doctored(s, "--out", s.file("a", b"x"))),
    ("E281", lambda s: doctored(s, "--out", s / "photos" / "out")),
    ("E282", lambda s: s.cli("doctor", prepared_small(s), "--out", s / "doctor")),
    (
        "E283",
        lambda s: s.cli("train", prepared_small(s), "--exclude", s.file("l", b'{"split": "train", "name": "0"}')),
    ),
    ("E284", no_kernels),
    ("E285", lambda s: decayed([["conv9", 1.0]])),
    ("E286", lambda s: decayed([["conv1", 1.0], ["conv1", 2.0]])),
    ("E287", paged("/explorer/RUN/kernel/conv1/99")),
    ("E288", paged("/explorer/RUN/answers/test-99")),
    ("E289", lambda s: ask_training(open_run(trained_run(s)), "stop")),
    ("E290", lambda s: s.cli("ablate")),
    ("E290", lambda s: variants_of("")),
    ("E290", lambda s: variants_of("no-lnr")),
    ("E291", lambda s: variants_of("tanh,tanh")),
    ("E291", lambda s: variants_of("ten-views+tanh")),
    ("E293", lambda s: s.cli("compare", trained_run(s), imported(s))),
    ("E294", lambda s: s.cli("compare", trained_run(s))),
    ("E294", lambda s: s.cli("compare", trained_run(s), trained_run(s))),
    ("E295", lambda s: check_splits("test", "test")),
    ("E295", lambda s: check_splits("test", "train")),
    ("E296", lambda s: s.cli("ensemble", *two_runs(s), "--split", "test")),
    ("E297", another_run),
    ("E298", lambda s: jobs_of("DATA", "demo", [], [])),
    ("E298", lambda s: run_jobs([], s / "rows", s / "runs", together=0)),
    ("E299", lambda s: check_scheme(DEMO, "towers", 2, exact=True)),
    ("E299", lambda s: check_scheme(override(DEMO, ["towers_talk=false"]), "hybrid", 2, exact=False)),
    ("E2020", lambda s: s.cli("train", "digits", "--minutes", "0")),
    ("E2021", lambda s: Fitting(frozenset(), 10.0, measures=False)),
    ("E2022", lambda s: s.cli("train", "digits", "--minutes", "5", "epochs=3")),
    ("E2023", lambda s: s.cli("train", "digits", "--recipe", "demo", "--minutes", "5")),
    ("E2024", lambda s: s.cli("train", "digits", "--search", "9")),
    ("E2040", without_home),
    ("E2041", told_by_main(errno.ELOOP)),
    ("E2042", told_by_main(errno.ENOENT)),
    ("E2050", lambda s: s.cli("learn", "99")),
    ("E2050", lambda s: s.cli("learn", "check")),
    ("E2051", lambda s: s.cli("learn", "check", 1)),
    ("E2052", lambda s: s.cli("learn", "check", 1, "--folder", s.file("a.py", b"print(1)"))),
    ("E2053", lambda s: s.cli("learn", "check", 1, "--folder", s.file("a.py", "# 答案".encode("gbk")))),
    ("E2053", lambda s: s.cli("learn", "check", 1, "--folder", s.file("a.ipynb", b"{"))),
    ("E2053", lambda s: s.cli("learn", "check", 1, "--folder", s.file("a.py", b"# %% [exercise side]\n" * 2))),
    ("E2054", lambda s: s.cli("learn", 1, "--folder", s.file("a", b""))),
    ("E2055", lambda s: s.cli("learn", "--lang", "fr")),
    ("E2056", lambda s: s.cli("learn", 1, 2)),
    ("E2057", lambda s: s.cli("learn", "check", 2, "--exercise", "sides")),
    ("E2120", lambda s: activation_trials(untrained(SMALL_PHOTOS), ONE_IMAGE, "norm1")),
    ("E2121", lambda s: dropout_trial(untrained(LENET), ONE_IMAGE)),
    ("E2122", lambda s: exchanges(untrained(LENET).network)),
    ("E2123", lambda s: answer_with_cuts(untrained(SMALL_PHOTOS), ONE_IMAGE, ["conv2"])),
    ("E2140", lambda s: site_of(s.folder)),
    ("E2141", lambda s: open_images(str(prepared_small(s)), 8, whole=True)),
    ("E2142", lambda s: alexnet.train("digits", parallel="data", nproc=2, callbacks=[alexnet.Monitor()])),
    ("E301", lambda s: read_image(s / "a.png")),
    ("E302", lambda s: read_image(s.file("a.png", png()[:40]))),
    ("E303", lambda s: read_image(b"")),
    ("E304", lambda s: read_image(s.file("a.jpg", b"<html>"))),
    ("E304", lambda s: read_image(b"hello")),
    ("E305", lambda s: read_image(png((30, 20)), max_pixels=599)),
    ("E306", not_a_number),
    ("E307", lambda s: prepare(broken_photos(s, "red/0.png"), s / "out", size=8, strict=True)),
    ("E308", lambda s: find_images([f"{s / '*.jpg'}"])),
    ("E309", lambda s: find_images([str(s.tree("x.txt"))])),
    ("E310", lambda s: open_source("digit")),
    ("E311", lambda s: open_source(s.file("photos.zip", b""))),
    ("E312", of_photos("val/a/1.jpg", "val/b/1.jpg")),
    ("E313", of_photos("a/1.txt", "b/1.txt")),
    ("E313", of_photos("train/a/1.jpg", "train/b/1.jpg", "val/.keep")),
    ("E314", of_photos("1.jpg", "2.jpg")),
    ("E315", of_photos("cat/1.jpg")),
    ("E316", of_photos("a/1.jpg", "b/1.jpg", "c/1.pdf")),
    ("E317", of_photos("train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")),
    ("E318", of_photos("train/Cat/1.jpg", "train/b/1.jpg", "val/cat/1.jpg")),
    ("E319", of_photos("a/1.jpg", "b/1.jpg")),
    ("E320", unlistable),
    ("E321", lambda s: ilsvrc(s, val__txt="v_1.JPEG n1\n")),
    ("E322", ilsvrc),
    ("E323", lambda s: ilsvrc(s, **{TRUTH: "1\n2\n"})),
    ("E324", ilsvrc_torn),
    ("E325", lambda s: evaluated(s, "test", ("a", "b"))),
    ("E326", lambda s: evaluated(s, "val", ("a", "cat"))),
    ("E327", lambda s: report_of(s, None)),
    ("E328", lambda s: report_of(s, "{")),
    ("E328", lambda s: report_of(s, "[1]")),
    ("E329", lambda s: ilsvrc(s, LOC_val_solution__csv="picture,class\nv_1,n1\n")),
    ("E330", lambda s: open_prepared(s.folder)),
    ("E331", lambda s: open_prepared(half_finished(s))),
    ("E332", strange_version),
    ("E333", lambda s: open_prepared([(p := prepared_small(s)), (p / "train-0000.npy").unlink()][0])),
    ("E334", lambda s: prepare(broken_photos(s), s / "photos/out", size=8)),
    ("E335", lambda s: prepare(small(), prepared_small(s), size=9)),
    ("E336", lambda s: prepare(small(), s.file("out", b""), size=8)),
    ("E337", lambda s: prepare(small(), s.tree("thesis.txt"), size=8)),
    ("E338", lambda s: prepare(small(), [(p := half_finished(s)), (p / "preparing.json").write_text("{")][0], size=8)),
    ("E339", lambda s: prepare(broken_photos(s, *(f"red/{i}.png" for i in range(3))), s / "out", size=8)),
    ("E340", lambda s: read_stored(s.file("w.pth", b"<html>"))),
    ("E340", lambda s: read_stored(s.file("w.pth", b""))),
    ("E341", single_array),
    ("E342", lambda s: read_stored(s.layers(bn__running_mean=(4,)))),
    ("E343", lambda s: read_stored(s.layers(a__weight=(3, 3, 1, 4), b__weight=(7, 2)))),
    ("E344", lambda s: read_stored(s.file("w", b"\xa2\x06\x08\x0a\x01a\x12\x03Foo"))),
    ("E344", lambda s: read_stored(s.file("w", b"\x3a\x00"))),
    ("E345", lambda s: read_stored(s.file("w", b"\x12\x04\x0a\x02\x0a\x00"))),
    ("E346", lambda s: read_stored(s.file("w", b"\x12\x02\x28\x12\xa2\x06\x00"))),
    ("E347", lambda s: identify(s.layers(a__weight=(3, 3, 3, 3)))),
    ("E348", lambda s: read_class_names(s / "names.txt")),
    ("E349", lambda s: check_fingerprint(tiny_network(), "0", "w.pth")),
    ("E350", lambda s: images_of_run(run_of(s, fingerprint="0"))),
    ("E351", lambda s: images_of_run(replace(run_of(s), class_names=("a", "cat")))),
    ("E352", unreadable_photo),
    ("E353", lambda s: open_location(f"file://{s / 'none'}")),
    ("E354", lambda s: far(s, lambda folder: (folder / "train-0000.npy").unlink())),
    ("E355", refused_by_server),
    (
        "E356",
        lambda s: far(s, lambda f: (f / "train-0000.npy").write_bytes(bytes((f / "train-0000.npy").stat().st_size))),
    ),
    ("E357", lambda s: far(s, lambda folder: (folder / "prepared.json").write_text("<html>"))),
    ("E358", asked("POST", "/v1/predict", b'{"img": "AAAA"}')),
    ("E359", of_photos("cat/1.jpg", "new\nline/1.jpg")),
    ("E360", asked("POST", "/v1/predict", b"x" * 11, body_bytes=10)),
    ("E361", asked("POST", "/v1/predict", headers={"content-type": "multipart/form-data; boundary=a"})),
    ("E362", asked("POST", "/v1/predict/batch", b"hello")),
    ("E363", asked("POST", "/v1/predict/batch", tar())),
    ("E364", asked("POST", "/v1/predict/batch", tar("a.jpg", "b.jpg", "c.jpg"), max_batch=2)),
    ("E365", told(b"GET / HTTP/1.1\r\n", header_seconds=0.1)),
    ("E366", told(b"hello\r\n\r\n")),
    ("E367", of_photos(*(f"{part}/{name}/1.jpg" for part in ("color", "gray") for name in ("cat", "dog")))),
    ("E367", of_photos("fold1/1.jpg", "fold2/1.jpg")),
    ("E368", of_photos("cat/1.jpg", "dog/1.jpg", "test/1.jpg")),
    ("E369", labeled(b"filename\n1.jpg\n2.jpg\n")),
    ("E369", labeled(b"\xff,\n")),
    ("E369", lambda s: open_source(s.tree("1.jpg"), labels=s / "none")),
    ("E370", labeled(b"filename,label\n7.jpg,cat\n")),
    ("E371", labeled(b"filename,label\n1.jpg,cat\n1.jpg,dog\n")),
    ("E378", labeled(b"filename,label,split\n1.jpg,cat,train\n2.jpg,dog,tset\n")),
    ("E372", lambda s: s.cli("train", prepared_small(s), "--labels", s.file("labels.csv", b""))),
    ("E373", guarded_image("CLOCK_SECONDS", 0, _asked=waiting)),
    ("E374", guarded_image("_pixels", dying)),
    ("E375", told_by_main(errno.EACCES)),
    ("E376", lambda s: too_many_chunks()),
    ("E380", lambda s: s.cli("prepare", write_photos(s / "photos"), s / "out", "--exclude", s / "none")),
    ("E380", excluding(b"\xff")),
    ("E381", excluding("red/1.png")),
    ("E382", excluding('{"split": "val", "name": "red/100.png"}')),
    ("E383", excluding('{"split": "train", "name": "red/1.png", "sha256": "0123"}')),
    ("E384", all_red),
    ("E385", stranger),
    ("E386", paged(f"/explorer/RUN/answers/{32 * '0'}")),
    ("E387", imported_only),
    ("E388", lambda s: paged("/explorer/RUN/answers/index-0", index=s.tree("photos/1.jpg") / "photos")(s)),
    ("E389", lambda s: promise_of(None, 1, 0.95, None)),
    ("E390", lambda s: searched(s, s.tree("photos/1.jpg") / "photos")),
    ("E391", lambda s: searched(s, s / "nowhere")),
    ("E392", paged("/explorer/RUN/filters?epoch=99")),
    ("E393", paged("/explorer/RUN/contrast")),
    ("E401", lambda s: thrown(diverged(s.folder, "the loss became nan at step 7", "conv1", {}, 0.1))),
    ("E401", lambda s: thrown(diverged(s.folder, "the loss became nan at step 7", "the output of norm1", {}, 0.1))),
    (
        "E401",
        lambda s: thrown(diverged(s.folder, "the loss became nan at step 1", None, {"step": 1, "rate": 1.0}, 1.0)),
    ),
    ("E402", unsound),
    ("E403", unreported),
    ("E404", other_bytes),
    ("E430", weights_of_a_diverged_run),
    ("E501", no_room),
    ("E501", lambda s: refused_by_disk(28)),
    ("E502", lambda s: refused_by_disk(5)),
    ("E503", ended_by_itself),
    ("E504", lambda s: far(s, ALEXNET_CACHE_GB="0.0000001")),
    ("E505", lambda s: open_location("http://127.0.0.1:9/set", HASTY)),
    ("E506", lambda s: far(s, ALEXNET_CACHE_GB="200G")),
    ("E510", lambda s: gone("Connection closed by peer [127.0.0.1]:1")),
    ("E510", lambda s: gone("Timed out waiting 60000ms for recv operation to complete")),
    ("E511", killed_too_often),
    ("E512", started_by("data", OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="4")),
    ("E516", lambda s: met_in_vain()),
    ("E520", asked("POST", "/v1/predict", png(), before=fill_queue)),
    ("E521", asked("POST", "/v1/predict", png(), all_bodies_bytes=10)),
    ("E522", told(b"", connections=0)),
    ("E523", asked("POST", "/v1/predict", png(), before=break_prediction)),
    ("E524", taken_port),
    ("E525", stopped_service),
    ("E530", not_ours),
    ("E540", offline),
    ("E541", full_disk),
    ("E542", no_memory),
    ("E542", lambda s: build_model(AlexNetConfig(fc_features=(10**9, 10**9)))),
    ("E542", lambda s: build_model(AlexNetConfig(width=1e38))),
    ("E543", broken_card),
    ("E544", lambda s: refused_by_disk(errno.EFBIG)),
    ("E545", told_by_main(errno.EMFILE)),
    ("E601", hostile_pickle),
    ("E610", lambda s: read_stored(s.file("w", b"\xa2\x06\x7f"))),
    ("E610", lambda s: read_stored(s.file("w.npz", b"PK\x03\x04"))),
    ("E611", huge),
    ("E612", external_onnx),
    ("E613", lambda s: identify(s.own(layers__conv1__weight=torch.zeros(1)))),
    ("E614", torchscript),
    ("E650", lambda s: open_run(spoilt(s, "SHA256SUMS").folder)),
    ("E651", lambda s: open_run(spoilt(s, "recipe.json").folder)),
    ("E652", lambda s: load_checkpoint(spoilt(s, "checkpoints/step-00000005/state.json"))),
    ("E653", lambda s: load_model(spoilt(s, "LAST"))),
    ("E654", lambda s: load_model(spoilt(s, "checkpoints/step-00000005/model.safetensors"))),
    ("E655", of_another_version),
    ("E656", lambda s: s.cli("verify", spoilt(s, "LAST").folder)),
    ("E660", unequal),
    ("E661", lambda s: open_backend(s.file("a.pt2", b""))),
    ("E662", lambda s: of_program("a.pt2", b"")),
    ("E663", lambda s: s.cli("parity", trained_run(s), other_network(s), s.file("a.png", png()))),
    ("E664", lossy),
    ("E665", damaged_kernels),
    ("E670", asked("GET", "/v1/runs", headers={"host": "evil.example"})),
    ("E671", asked("GET", "/v1/runs", headers={"origin": "http://evil.example"})),
    ("E672", asked("GET", "/v1/runs", token="secret")),
    ("E673", lambda s: s.cli("serve", trained_run(s), "--cors-origin", "*", "--token", "secret")),
    ("E674", run_that_is_gone),
    ("E6060", lambda s: open_run(resealed(s, "classes.json", b"{}"))),
    ("E6061", foreign_weights),
]


# The whole messages; DIR is the folder of the test, ... are words of another library, or a list that grows.
MESSAGES = (Path(__file__).parent / "errors.txt").read_text().rstrip("\n").split("\n\n")


@pytest.mark.parametrize(
    ("code", "provoke", "expected"),
    [(*mistake, message) for mistake, message in zip(MISTAKES, MESSAGES, strict=True)],
    ids=[f"{number}-{code}" for number, (code, _) in enumerate(MISTAKES)],
)
def test_the_whole_message_is_the_one_that_is_written_here(code, provoke, expected, tmp_path, request, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    monkeypatch.chdir(folder)
    try:
        told = provoke(Scene(folder, request))
    except errors.AlexNetError as error:
        told = str(error)
    pattern = re.escape(expected).replace(r"\.\.\.", r"[\s\S]*")
    assert re.match(rf"{code} .+\n.", expected)
    assert re.fullmatch(pattern, str(told).replace(str(folder), "DIR")), told


def test_every_code_is_provoked():
    assert {code for code, _ in MISTAKES} == {code for code, _ in ROWS}
