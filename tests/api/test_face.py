"""`import alexnet` as a user meets it: what it offers, what it costs, what it shows, and that its examples run."""

import ast
import copy
import doctest
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import alexnet
from harness import ROOT
from harness.small_runs import TINY

SOURCE = ast.parse(Path(alexnet.__file__).read_text())
PUBLIC = [name for name in alexnet.__all__ if name != "__version__"]


def in_a_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- what it offers and costs --------------------------------------------------------------------------------------


def test_all_is_what_is_there():
    """`__all__`, the lazy attributes, and what a type checker sees are one list."""
    assert list(alexnet.__all__) == sorted(alexnet.__all__)
    assert set(dir(alexnet)) == set(alexnet.__all__)
    for_checkers = {
        alias.name
        for node in ast.walk(SOURCE)
        if isinstance(node, ast.ImportFrom) and node.module != "typing" and node.module != "importlib"
        for alias in node.names
    }
    assert for_checkers == set(PUBLIC)
    assert all(getattr(alexnet, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        alexnet.tarin  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import alexnet; dir(alexnet)",
        "import alexnet; alexnet.list_recipes(); alexnet.recipe('photos', epochs=5)",
        "import alexnet; alexnet.diff('caffe', 'alexnet-2012')",
        "import alexnet.cli.main",
    ],
)
def test_names_recipes_and_help_need_no_torch(code):
    heavy = "{'torch', 'matplotlib', 'PIL', 'sklearn', 'fastapi'}"
    assert in_a_process(f"import sys; {code}; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


@pytest.mark.parametrize("command", [["recipes"], ["recipes", "photos"], ["diff", "caffe", "alexnet-2012"], ["--help"]])
def test_the_same_on_the_shell(command):
    code = (
        f"import sys; sys.argv = ['alexnet', *{command!r}]\n"
        "from alexnet.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    assert in_a_process(code)


# --- examples ------------------------------------------------------------------------------------------------------


def examples() -> dict[str, doctest.DocTest]:
    """All examples of public names and of the public methods of public classes, by the name they stand under."""
    found = {}
    parser = doctest.DocTestParser()
    for name in PUBLIC:
        value = getattr(alexnet, name)
        members = vars(value).items() if inspect.isclass(value) else ()
        documented = {name: value, **{f"{name}.{m}": v for m, v in members if not m.startswith("_") and callable(v)}}
        for where, thing in documented.items():
            text = inspect.getdoc(thing) or ""
            if ">>>" in text:
                found[where] = parser.get_doctest(text, {}, where, None, None)
    return found


EXAMPLES = examples()


def test_every_public_name_has_an_example():
    assert set(PUBLIC) - set(EXAMPLES) == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_and_its_parameters_are_explained(name):
    value = getattr(alexnet, name)
    text = inspect.getdoc(value)
    assert text
    if inspect.isfunction(value):
        named = [p for p in inspect.signature(value).parameters if p not in ("progress", "on_prepared", "fields")]
        unexplained = [p for p in named if f"{p}:" not in text and f"`{p}`" not in text and "as for `" not in text]
        # One parameter is explained by the sentence itself.
        assert len(unexplained) <= 1, unexplained


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", EXAMPLES)
def test_examples_run(where, trained, tmp_path, monkeypatch):
    """In a folder with photos/, cat.jpg, weights.safetensors, runs/photos, which is runs/last, and runs/other."""
    shutil.copytree(trained / "photos", tmp_path / "photos")
    shutil.copytree(trained / "run", tmp_path / "runs" / "photos", symlinks=True)
    (tmp_path / "runs" / "last").symlink_to("photos")
    shutil.copytree(trained / "run", tmp_path / "runs" / "other", symlinks=True)
    shutil.copy(trained / "photos" / "red" / "0.png", tmp_path / "cat.jpg")
    newest = sorted((trained / "run").glob("checkpoints/step-*/model.safetensors"))[-1]
    shutil.copy(newest, tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    example = EXAMPLES[where]
    runner.run(doctest.DocTest(example.examples, {}, where, None, None, None), out=said.append)
    assert runner.failures == 0, "".join(said)


# --- wrong values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model.norm", "layer"),
        ("model.pooling", "averge"),
        ("model.dropout", 7),
        ("model.activation", "rleu"),
        ("augment.view", "sqaure"),
        ("optim.lr", -1.0),
        ("epochs", 0),
        ("batch_size", 2.5),
        ("precision", "float16"),
    ],
)
def test_a_wrong_value_is_refused_in_python_with_the_words_of_the_shell(alexnet, field, value):
    import alexnet as face

    with pytest.raises(face.UsageError) as refused:
        face.recipe("alexnet-2012", **{field: value})
    typed = alexnet("train", "digits", f"{field}={value}", "--recipe", "alexnet-2012", "--dry-run")
    assert typed.code == 2
    assert " ".join(str(refused.value).split()) in " ".join(typed.err.split())


@pytest.mark.parametrize("wrong", [{"norm": "layer"}, {"pooling": "averge"}, {"dropout": 7}, {"width": 0}])
def test_a_record_cannot_be_made_with_a_wrong_value(wrong):
    from alexnet.recipes.config import AlexNetConfig

    with pytest.raises(alexnet.UsageError, match="E214"):
        AlexNetConfig(**wrong)
    assert AlexNetConfig(norm="none", dropout=0.3).dropout == 0.3


# --- pixels 0..1 ---------------------------------------------------------------------------------------------------


def small(**fields) -> nn.Module:
    return alexnet.create_model("demo", width=0.05, num_classes=10, **fields).eval()


def pixels(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 28, 28), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    "images",
    [pixels() / 255, pixels().double() / 255, (pixels() > 127).float(), pixels(1) / 255 * 0.5],
    ids=["ToTensor", "double", "black and white", "dark"],
)
@pytest.mark.parametrize("train", [False, True])
def test_floats_between_0_and_1_are_refused_with_the_fix(images, train):
    network = small().train(train)
    with pytest.raises(alexnet.UsageError, match=r"E218[\s\S]*images \* 255"):
        network(images.to(network.input_scale.dtype))
    with pytest.raises(alexnet.UsageError, match="E218"):
        network.activations(images.to(network.input_scale.dtype))


@pytest.mark.parametrize(
    "images",
    [
        pixels(),
        pixels() // 200,
        pixels().float(),
        torch.zeros(2, 3, 28, 28),
        torch.full((2, 3, 28, 28), 1.5),
        pixels() / 127.5 - 1,
        torch.full((1, 3, 28, 28), float("nan")),
    ],
    ids=["uint8", "dark uint8", "float", "black", "hardly more", "below 0", "not a number"],
)
def test_other_batches_are_not(images):
    assert small()(images).shape == (len(images), 10)


def test_a_dark_image_is_answered_by_every_way_of_the_program(trained):
    model = alexnet.load(trained / "run", device="cpu")
    dark = np.zeros((24, 24, 3), np.uint8)
    dark[3, 3] = 1
    for views in (1, 10):
        (answer,) = model.predict(dark, views=views)
        assert not answer.error
    assert set(model.explain(dark, method="all").maps) == {"occlusion", "saliency", "grad-cam"}


def test_whoever_knows_better_says_so():
    network = small()
    images = pixels() / 255
    logits = network(images, check_range=False)
    assert torch.allclose(network.activations(images, check_range=False)["fc8"], logits, atol=1e-6)
    assert not torch.allclose(network(255 * images), logits, atol=1e-3)


# --- conventions of PyTorch ----------------------------------------------------------------------------------------


def test_a_network_trains_in_a_plain_loop_is_copied_and_restored():
    network = alexnet.create_model("demo", width=0.05, dropout=0.0, num_classes=3)
    before = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    labels = torch.tensor([0, 1, 2, 0])
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(pixels()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    network.eval(), before.eval()
    assert not torch.equal(network(pixels()), before(pixels()))
    before.load_state_dict(network.state_dict())
    assert torch.equal(network(pixels()), before(pixels()))


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_a_network_compiles_and_exports_as_one_graph():
    network = small()
    whole = torch.compile(network, fullgraph=True, backend="eager")
    assert torch.allclose(whole(pixels()), network(pixels()), atol=1e-5)
    program = torch.export.export(network, (pixels().float(),))
    assert torch.allclose(program.module()(pixels().float()), network(pixels()), atol=1e-5)


def test_a_network_works_under_ddp(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        network = alexnet.create_model("demo", width=0.05, dropout=0.0)
        wrapped = DistributedDataParallel(copy.deepcopy(network))
        for each in (network, wrapped):
            each(pixels()).logsumexp(1).sum().backward()
        for own, theirs in zip(network.parameters(), wrapped.module.parameters(), strict=True):
            assert torch.equal(own.grad, theirs.grad)
    finally:
        torch.distributed.destroy_process_group()


def test_torch_hub_finds_its_entries():
    network = torch.hub.load(str(ROOT), "lenet", source="local", num_classes=3)
    assert sum(p.numel() for p in network.parameters()) == 61_111  # 61,706 less 7 * 85


def test_a_dataloader_takes_the_datasets(photos):
    data = alexnet.load_data(photos, size=24)
    images, labels = next(iter(torch.utils.data.DataLoader(data.train, batch_size=8)))
    assert images.dtype == torch.uint8
    assert [data.class_names[i] for i in labels] == ["blue"] * 8
    assert torch.equal(data.train[-1][0], data.train[len(data.train) - 1][0])
    with pytest.raises(IndexError):
        data.train[len(data.train)]


# --- what it shows -------------------------------------------------------------------------------------------------


def shown(trained: Path) -> dict[str, object]:
    """One of every object that a user meets."""
    other = shutil.copytree(trained / "run", "other", symlinks=True)
    run = alexnet.Run.open(trained / "run")
    model = alexnet.load(trained / "run", device="cpu")
    data = alexnet.load_data(trained / "photos", size=24)
    image = trained / "photos" / "red" / "0.png"
    return {
        "run": run,
        "run folder": run.record,
        "model": model,
        "classifier": model.classifier,
        "recipe": run.recipe,
        "data": data,
        "prepared": data.prepared,
        "split": data.prepared.splits["train"],
        "dataset": data.train,
        "evaluation": model.evaluate(),
        "prediction": model.predict(image)[0],
        "explanation": model.explain(image),
        "similar": model.similar(image, index=image.parent),
        "features": model.features(image.parent),
        "filters": model.filters(),
        "filter growth": model.filters_over_training(),
        "summary": model.summary(),
        "plan": alexnet.plan(trained / "photos", recipe=run.recipe),
        "examination": alexnet.examine(trained / "photos", out=Path("findings")),
        "identified": alexnet.identify(sorted((trained / "run").glob("checkpoints/*/model.safetensors"))[-1]),
        "comparison": alexnet.compare(trained / "run", other, split="val"),
        "ensemble": alexnet.ensemble(trained / "run", other, split="val"),
        "ablation": alexnet.ablate(trained / "photos", base="small-photos", vary="no-lrn"),
        "parity": alexnet.parity(trained / "run", trained / "run", image),
        "check": alexnet.check(trained / "photos", recipe="photos", changes=TINY),
    }


def test_every_object_shows_itself_in_a_few_lines(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = {}
    for name, value in shown(trained).items():
        text = repr(value)
        if len(text) > 1200 or "<" in text.partition("(")[0] or "object at 0x" in text:
            long[name] = text[:200]
    assert long == {}


def test_a_notebook_shows_a_prediction_a_run_and_a_model(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = shown(trained)
    assert all(name in objects["prediction"]._repr_html_() for name in ("<img", "red", "%"))
    assert "<svg" in objects["run"]._repr_html_()
    assert "conv1" in objects["model"]._repr_html_()
    assert "conv1" in objects["summary"]._repr_html_()
    assert "conv1" in str(objects["summary"])


def test_data_shows_images_as_they_are_and_as_training_sees_them(photos):
    data = alexnet.load_data(photos, size=24)
    plain, augmented = data.show(6), data.show(6, augmented=True)
    for figure in (plain, augmented):
        cells = [axes for axes in figure.axes if axes.images]
        assert len(cells) == 6
        assert {axes.get_title() for axes in cells} <= set(data.class_names)
    assert data.summary()["images"] == {"train": 24, "val": 6}
    assert not np.array_equal(plain.axes[0].images[0].get_array(), augmented.axes[0].images[0].get_array())


def test_tensors_are_the_images_one_by_one(photos):
    split = alexnet.load_data(photos, size=24).train
    pixels, labels = split.tensors()
    assert (pixels.dtype, len(pixels)) == (torch.uint8, len(split))
    for number, (image, label) in enumerate(split):
        assert torch.equal(pixels[number], image)
        assert labels[number] == label


def test_training_views_are_windows_of_the_images_one_for_all_of_a_chunk(photos):
    data = alexnet.load_data(photos, size=24)
    recipe = alexnet.recipe("alexnet-2012", crop_size=20, color_noise=0.0)
    windows = set()
    for epoch in (1, 2, 3, 4):
        views, labels = data.training_views(30, recipe=recipe, epoch=epoch)
        assert (views.shape, views.dtype, len(labels)) == ((24, 3, 20, 20), torch.uint8, 24)  # all images there are
        places = [
            {
                (top, left, flipped)
                for pixels, label in data.train
                for top in range(5)
                for left in range(5)
                for flipped in (False, True)
                if label == wanted and torch.equal(window_of(pixels, top, left, flipped), view)
            }
            for view, wanted in zip(views, labels.tolist(), strict=True)
        ]
        shared = set.intersection(*places)
        assert shared
        windows |= shared
    assert len(windows) > 1


def window_of(pixels, top, left, flipped):
    window = pixels[:, top : top + 20, left : left + 20]
    return window.flip(-1) if flipped else window


def test_curves_are_those_of_the_metrics(trained):
    run = alexnet.Run.open(trained / "run")
    lines = {line.get_label(): line.get_ydata() for line in run.plot().axes[0].lines}
    assert list(lines["training"]) == [row["train_loss"] for row in run.metrics]


def test_training_in_a_notebook_redraws_one_bar(trained, tmp_path, monkeypatch):
    drawn: list[str] = []
    monkeypatch.setattr("alexnet.api.bars.notebook_display", lambda: drawn.append)
    alexnet.train(
        trained / "photos", recipe=alexnet.Run.open(trained / "run").recipe, out=tmp_path / "run", progress=True
    )
    assert 0 < len(drawn) < 40
    assert max(map(len, drawn)) < 2000
    assert "epoch" in drawn[-1]


def test_training_output_fits_80_columns(trained, tmp_path, alexnet, monkeypatch):
    """On a terminal of 80 columns no line is longer, and none is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    outcome = alexnet("train", trained / "photos", *TINY, "--out", tmp_path / "r", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    rows = [line for line in outcome.out.splitlines() if " | " in line]
    assert len(rows) == 2  # the head, and the epoch that was evaluated
    assert max(map(len, rows)) <= 80


def test_callbacks_are_told_every_step_and_epoch(trained, tmp_path):
    class Seen(alexnet.Monitor):
        def __init__(self):
            self.steps, self.epochs = [], []

        def step(self, progress):
            self.steps.append(progress.step)

        def epoch(self, row):
            self.epochs.append(row)

    seen = Seen()
    recipe = alexnet.Run.open(trained / "run").recipe
    run = alexnet.train(trained / "photos", recipe=recipe, out=tmp_path / "run", callbacks=[seen])
    assert seen.steps == list(range(1, 7))
    assert [row["epoch"] for row in seen.epochs] == [row["epoch"] for row in run.metrics]


def test_tensorboard_gets_what_the_metrics_have(trained, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = alexnet.Run.open(trained / "run").recipe
    writer = alexnet.TensorBoard(tmp_path / "logs")
    run = alexnet.train(trained / "photos", recipe=recipe, out=tmp_path / "run", callbacks=[writer])
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert [event.value for event in events.Scalars("epoch/train_loss")] == pytest.approx(
        [row["train_loss"] for row in run.metrics]
    )
    assert len(events.Scalars("step/loss")) == 6


def test_bars_are_asked_for_and_the_library_is_silent_otherwise(trained, tmp_path, capfd):
    recipe = alexnet.Run.open(trained / "run").recipe
    run = alexnet.train(trained / "photos", recipe=recipe, out=tmp_path / "run")
    alexnet.load(run.folder).evaluate()
    assert capfd.readouterr() == ("", "")
    told = []
    alexnet.load(run.folder).evaluate(progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told[-1] == ("evaluating", 6, 6)


def test_the_newest_run_is_runs_last(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = alexnet.Run.open(trained / "run").recipe
    first = alexnet.train(trained / "photos", recipe=recipe, epochs=1)
    second = alexnet.train(trained / "photos", recipe=recipe, epochs=1, seed=1)
    assert os.path.samefile("runs/last", second.folder)
    assert alexnet.load("runs/last").fingerprint != alexnet.load(first.folder).fingerprint
    assert json.loads((second.folder / "recipe.json").read_text())["seed"] == 1
