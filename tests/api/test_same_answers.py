"""The verbs and the face of the package give the same answers, bit for bit: one test for each pair."""

import hashlib
import io
import json
import shutil
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alexnet as face
from alexnet.errors import DataError, UsageError
from harness.small_runs import TINY, reseal

# Times, versions and the like differ between two calls of the same program.
CHANGES_WITH_TIME = {"seconds", "images_per_second"}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_of(run: Path) -> str:
    """sha256 of the newest weights file of a run."""
    return sha256(newest_weights(run))


def newest_weights(run: Path) -> Path:
    return sorted(run.glob("checkpoints/step-*/model.safetensors"))[-1]


def typed(alexnet, *arguments) -> str:
    outcome = alexnet(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out


def rows_of(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CHANGES_WITH_TIME} for row in rows]


@pytest.fixture
def image(trained) -> Path:
    return trained / "photos" / "red" / "3.png"


@pytest.fixture(scope="module")
def sure_run(trained, tmp_path_factory) -> Path:
    """The run, with a calibration that says its answers are right and 3 in 10 of its probabilities too large."""
    run = shutil.copytree(trained / "run", tmp_path_factory.mktemp("sure") / "run")
    stored = json.loads((run / "calibration.json").read_text())
    confidence = [round(0.2 + 0.8 * n / 200, 4) for n in range(200)]
    right = [n > 20 for n in range(200)]
    for views, temperature in (("1", 1.3), ("10", 0.7)):
        stored["views"][views] = {"temperature": temperature, "confidence": confidence, "right": right}
        stored["views"][views]["true_class"] = confidence
    (run / "calibration.json").write_text(json.dumps(stored))
    reseal(run)
    return run


@pytest.fixture
def model(trained):
    return face.load(trained / "run", device="cpu")


def test_train(trained, tmp_path):
    """The keywords are the fields that were typed, so the weights are the same bytes."""
    run = face.train(
        trained / "photos",
        out=tmp_path / "run",
        device="cpu",
        prepare_size=24,
        crop_size=20,
        test_size=None,
        width=0.0625,
        conv1_kernel=5,
        conv1_stride=1,
        conv1_padding=2,
        pool5_grid=1,
        growing_crops=((0, 16), (0.5, 20)),
        epochs=2,
        batch_size=8,
    )
    assert weights_of(run.folder) == weights_of(trained / "run")
    assert run.recipe == face.Run.open(trained / "run").recipe
    assert rows_of(run.folder) == rows_of(trained / "run")


def test_train_from_data_and_recipe_in_hand(trained, tmp_path):
    opened = face.Run.open(trained / "run")
    data = face.load_data(trained / "photos", size=opened.recipe.prepare_size)
    run = face.train(data, recipe=opened.recipe, out=tmp_path / "run", device="cpu")
    assert weights_of(run.folder) == weights_of(trained / "run")


def test_resume(trained, alexnet, tmp_path):
    class Stop(face.Monitor):
        def step(self, progress):
            if progress.step == 3:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(face.Interrupted):
        face.train(
            trained / "photos",
            recipe=face.Run.open(trained / "run").recipe,
            out=tmp_path / "stopped",
            device="cpu",
            save_seconds=0,
            callbacks=[Stop()],
        )
    shutil.copytree(tmp_path / "stopped", tmp_path / "again")
    typed(alexnet, "resume", tmp_path / "stopped", "--device", "cpu")
    run = face.resume(tmp_path / "again", device="cpu")
    hashes = [weights_of(folder) for folder in (tmp_path / "stopped", run.folder, trained / "run")]
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("views", [1, 10])
def test_predict(trained, alexnet, model, image, views):
    """A file, its bytes, a Pillow image and an array of its pixels get one answer."""
    out = typed(
        alexnet, "predict", trained / "run", image, "--views", views, "--k", 2, "--format", "json", "--device", "cpu"
    )
    (line,) = (json.loads(line) for line in out.splitlines())
    with Image.open(image) as opened:
        opened.load()
        forms = [image, str(image), image.read_bytes(), opened.convert("RGB"), np.asarray(opened.convert("RGB"))]
    for form in forms:  # one by one: the last bits of a matrix product depend on how many there are
        (answer,) = model.predict([form], views=views, k=2)
        assert [list(each) for each in answer.top] == [[each["class"], each["probability"]] for each in line["top"]]
    assert len(model.predict(image.parent, k=1)) == 10


@pytest.mark.parametrize("views", [1, 10])
@pytest.mark.parametrize(
    "asked",
    [{"min_precision": 0.9}, {"coverage": 0.6}, {"min_precision": 0.3, "coverage": 0.9, "raw": True}, {"raw": True}],
)
def test_every_face_is_as_sure(sure_run, alexnet, image, asked, views):
    """The shell, Python, the service and the page: probabilities, what is sure, sets and promises, bit for bit."""
    testclient = pytest.importorskip("fastapi.testclient", reason="the extra serve is not installed")
    from alexnet.explorer.routes import add_explorer
    from alexnet.serving.app import create_app
    from alexnet.serving.models import ServedModels
    from alexnet.serving.service import Service
    from alexnet.serving.settings import Settings

    flags = ["--raw"] if asked.get("raw") else []
    flags += [part for name, value in asked.items() if name != "raw" for part in (f"--{name.replace('_', '-')}", value)]
    more = ("--views", views, "--k", 3, "--format", "json", "--device", "cpu")
    line = json.loads(typed(alexnet, "predict", sure_run, image, *flags, *more))
    model = face.load(sure_run, device="cpu")
    (answer,) = model.predict(image, views=views, k=3, **asked)
    service = Service(ServedModels([sure_run], device="cpu"), Settings())
    app = create_app(service)
    add_explorer(app, service)
    with testclient.TestClient(app, base_url="http://127.0.0.1:8000") as client:
        query = {"views": views, "k": 3, **asked}
        served = client.post("/v1/predict", params=query, content=image.read_bytes()).json()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(image, "image.png")
        (batched,) = client.post("/v1/predict/batch", params=query, content=archive.getvalue()).json()["images"]
        page = {name: value for name, value in asked.items() if name != "raw"}
        sent = client.post("/explorer/images", content=image.read_bytes()).json()
        shown = client.get(f"/explorer/run/answers/{sent['image']}", params=page).json()
    service.stop()
    top = [[name, probability] for name, probability in answer.top]
    assert [[each["class"], each["probability"]] for each in line["top"]] == top
    assert [[each["name"], each["probability"]] for each in served["top"]] == top
    assert all(batched[name] == served[name] for name in ("top", "sure", "prediction_set"))
    for name, wanted in (("sure", "min_precision"), ("prediction_set", "coverage")):
        expected = getattr(answer, name) if wanted in asked else None
        expected = list(expected) if isinstance(expected, tuple) else expected
        assert (wanted in asked) == (expected is not None) == (name in line)
        assert line.get(name) == served[name] == expected
        assert views == 10 or shown[name] == expected
    promised = model.promise(views, asked.get("min_precision"), asked.get("coverage")).notes()
    assert served["promise"] == promised
    if views == 1:
        assert shown["promise"] == promised
        if "raw" not in asked:
            assert [[each["name"], each["probability"]] for each in sent["one"]] == top
            assert [each["name"] for each in shown["one"]] == [name for name, _ in top]


def test_predict_says_which_image_cannot_be_read(trained, model, image, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    answers = model.predict([broken, image])
    assert [bool(answer.error) for answer in answers] == [True, False]
    assert answers[0].top == ()


@pytest.mark.parametrize("options", [{}, {"views": 10}, {"split": "train"}])
def test_evaluate(trained, alexnet, model, options):
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    out = typed(alexnet, "evaluate", trained / "run", *flags, "--format", "json", "--device", "cpu")
    assert model.evaluate(**options).summary() == json.loads(out)


def test_evaluate_on_other_images(trained, alexnet, model):
    other = trained / "photos"
    out = typed(alexnet, "evaluate", trained / "run", other, "--format", "json", "--device", "cpu")
    assert model.evaluate(other).summary() == json.loads(out)


def test_a_table_of_labels_is_of_the_images_of_the_run(trained, alexnet, model, tmp_path):
    photos = trained / "photos"
    turn = dict(zip(model.class_names, (*model.class_names[1:], model.class_names[0]), strict=True))
    rows = [f"{path.relative_to(photos)},{turn[path.parent.name]}" for path in sorted(photos.glob("*/*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(("filename,label", *rows)) + "\n")
    other = model.evaluate(photos, labels=table).summary()
    assert model.evaluate(labels=table).summary() == other
    assert other["top1_error"] != model.evaluate(photos).summary()["top1_error"]
    with pytest.raises(DataError, match="has its labels already"):
        model.evaluate(face.load_data(photos, size=24), labels=table)


def test_explain(trained, alexnet, model, image, tmp_path):
    typed(alexnet, "why", trained / "run", image, "--method", "all", "--out", tmp_path / "typed.png", "--device", "cpu")
    model.explain(image, method="all").save(tmp_path / "called.png")
    assert sha256(tmp_path / "typed.png") == sha256(tmp_path / "called.png")


def test_filters(trained, alexnet, model, tmp_path):
    typed(alexnet, "filters", trained / "run", "--sort", "--out", tmp_path / "typed.png")
    model.filters().save(tmp_path / "called.png", sort=True)
    typed(alexnet, "filters", trained / "run", "--over-training", "--out", tmp_path / "typed-growth.png")
    model.filters_over_training().save(tmp_path / "called-growth.png")
    assert sha256(tmp_path / "typed.png") == sha256(tmp_path / "called.png")
    assert sha256(tmp_path / "typed-growth.png") == sha256(tmp_path / "called-growth.png")


def test_features(trained, alexnet, model, image, tmp_path):
    typed(
        alexnet,
        "features",
        trained / "run",
        image,
        "--layer",
        "fc7",
        "--out",
        tmp_path / "typed.npy",
        "--device",
        "cpu",
    )
    found = model.features(image, layer="fc7", out=tmp_path / "called.npy")
    assert sha256(tmp_path / "typed.npy") == sha256(tmp_path / "called.npy")
    assert np.array_equal(found.values, np.load(tmp_path / "typed.npy"))


def test_similar(trained, alexnet, model, image, tmp_path):
    index = trained / "photos"
    arguments = ("--index", index, "--k", 3, "--out", tmp_path / "typed.png", "--device", "cpu")
    typed(alexnet, "similar", trained / "run", image, *arguments)
    model.similar(image, index=index, k=3).save(tmp_path / "called.png")
    assert sha256(tmp_path / "typed.png") == sha256(tmp_path / "called.png")


def test_export(trained, alexnet, model, tmp_path):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    typed(alexnet, "export", trained / "run", "--out", tmp_path / "typed.onnx")
    model.export(tmp_path / "called.onnx")
    assert sha256(tmp_path / "typed.onnx") == sha256(tmp_path / "called.onnx")


def test_report(trained, alexnet, tmp_path):
    for name in ("typed", "called"):
        shutil.copytree(trained / "run", tmp_path / name / "run")
        (tmp_path / name / "run" / "report.html").unlink()
    typed(alexnet, "report", tmp_path / "typed" / "run")
    page = face.Run.open(tmp_path / "called" / "run").report()
    text = (tmp_path / "typed" / "run" / "report.html").read_text()
    assert page.read_text() == text.replace(str(tmp_path / "typed"), str(tmp_path / "called"))


def test_recipes_and_diff(trained, alexnet):
    listing = typed(alexnet, "recipes")
    assert all(name in listing for name in face.list_recipes())
    shown = typed(alexnet, "diff", "alexnet-2012", trained / "run")
    assert all(each.field in shown for each in face.diff("alexnet-2012", trained / "run"))


def test_summary(alexnet, trained):
    out = typed(alexnet, "summary", "alexnet-2012", "model.width=0.5")
    assert f"{face.summary('alexnet-2012', width=0.5).parameters:,}" in out
    out = typed(alexnet, "summary", trained / "run")
    network = face.load(trained / "run", device="cpu").network
    assert f"{face.summary(network).parameters:,}" in out
    assert face.summary(network).parameters == sum(p.numel() for p in network.parameters())


def test_prepare(trained, alexnet, tmp_path):
    typed(alexnet, "prepare", trained / "photos", tmp_path / "typed", "--size", 24, "--threads", 1)
    report = face.prepare(trained / "photos", tmp_path / "called", size=24, threads=2)
    names = sorted(path.name for path in (tmp_path / "typed").iterdir())
    assert names == sorted(path.name for path in report.folder.iterdir())
    same = [name for name in names if sha256(tmp_path / "typed" / name) == sha256(tmp_path / "called" / name)]
    assert same == names


def test_doctor(trained, alexnet, tmp_path):
    out = typed(alexnet, "doctor", trained / "photos", "--out", tmp_path / "typed", "--format", "json")
    found = face.examine(trained / "photos", out=tmp_path / "called")
    assert json.loads(json.dumps(found.record())) == json.loads(out)
    assert sha256(tmp_path / "typed" / "exclude.jsonl") == sha256(tmp_path / "called" / "exclude.jsonl")


def test_identify_and_import(trained, alexnet, tmp_path):
    weights = newest_weights(trained / "run")
    shown = typed(alexnet, "identify", weights)
    assert face.identify(weights).recipe.name in shown
    typed(alexnet, "import", weights, tmp_path / "typed")
    run, _ = face.import_weights(weights, tmp_path / "called")
    assert weights_of(tmp_path / "typed") == weights_of(run.folder)
    assert face.Run.open(tmp_path / "typed").recipe == run.recipe


def test_compare_and_ensemble(trained, alexnet, tmp_path):
    other = face.train(
        trained / "photos", recipe=face.Run.open(trained / "run").recipe, out=tmp_path / "seed-1", device="cpu", seed=1
    )
    runs = (trained / "run", other.folder)
    typed(alexnet, "compare", *runs, "--out", tmp_path / "typed.html", "--device", "cpu")
    found = face.compare(*runs, out=tmp_path / "called.html", device="cpu")
    assert sha256(tmp_path / "typed.html") == sha256(tmp_path / "called.html")
    assert [e.top1_error for e in found.evaluations] == [
        face.load(run, device="cpu").evaluate(split="val").top1_error for run in runs
    ]
    shown = typed(alexnet, "ensemble", *runs, "--device", "cpu")
    assert f"{100 * face.ensemble(*runs, device='cpu').combined.top1_error:.1f} %" in shown


def test_parity(trained, alexnet, image):
    same = face.parity(trained / "run", trained / "run", image)
    assert same.equal
    assert "equal" in typed(alexnet, "parity", trained / "run", trained / "run", image)


def test_ablate(trained, alexnet, tmp_path):
    arguments = ("--base", "small-photos", "--vary", "no-lrn", "--seeds", 2)
    shown = typed(alexnet, "ablate", trained / "photos", "epochs=1", *arguments, "--out", tmp_path / "a", "--dry-run")
    planned = face.ablate(
        trained / "photos", base="small-photos", vary="no-lrn", seeds=2, changes=["epochs=1"], out=tmp_path / "b"
    )
    commands = [line.strip() for line in shown.splitlines() if line.startswith("  alexnet train")]
    assert len(planned.commands) == 4
    assert commands == planned.commands


def test_check(trained, alexnet):
    shown = typed(alexnet, "check", trained / "photos", *TINY, "--recipe", "photos", "--device", "cpu")
    found = face.check(trained / "photos", recipe="photos", device="cpu", changes=TINY)
    assert all(layer.name in shown for layer in found.layers)


def test_what_only_the_ends_of_wide_images_show_is_learned_and_told_where_they_are_whole(tmp_path):
    """Both classes have the same central square."""
    draw = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(60, 200, (24, 72, 3)).astype(np.uint8)
            pixels[:, :22, channel] = pixels[:, -22:, channel] = 255
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    run = face.train(tmp_path / "photos", out=tmp_path / "run", changes=(*TINY, "epochs=6"), device="cpu", cues=False)
    assert run.recipe.prepare_whole
    told = face.load(run.folder).predict(tmp_path / "photos")
    assert [each.top[0][0] for each in told] == [each.path.parent.name for each in told]
    for name in ("cut", "whole"):
        face.prepare(tmp_path / "photos", tmp_path / name, size=24, whole=name == "whole")
        assert face.load_data(tmp_path / name).prepared.whole == (name == "whole")
    assert face.load(run.folder).evaluate(tmp_path / "whole", split="val").top1_error == 0
    with pytest.raises(UsageError, match=r"E2141.*central squares.*\n.*prepare_whole=false.*with --whole"):
        face.load(run.folder).evaluate(tmp_path / "cut")
    with pytest.raises(UsageError, match=r"E2141.*stretched.*\n.*prepare_whole=true.*without --whole"):
        face.train(tmp_path / "whole", changes=(*TINY, "prepare_whole=false"), out=tmp_path / "other", device="cpu")
