"""Checks the service: its results are those of the command line, its errors have words, and it loses no request."""

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from alexnet.evaluation.classifier import Classifier
from alexnet.interpret.contact_sheet import activation_sheet
from alexnet.interpret.features import features, last_hidden
from alexnet.models.network import fingerprint
from alexnet.runs.checkpoint import TrainingState, load_model, save_checkpoint
from alexnet.runs.run import open_run
from alexnet.serving.counters import service_counters
from alexnet.serving.models import _names
from harness import ROOT
from harness.service_process import Running, answer_of, connect, head, in_a_process, in_a_thread

httpx = pytest.importorskip("httpx")


def png_bytes(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (18, 17, 3)).astype(np.uint8)
    Image.fromarray(noise).save(out := io.BytesIO(), "PNG")
    return out.getvalue()


NAMES = ("blue", "green", "red")  # the classes of the trained run, in the order of its outputs
PNG = png_bytes(2)


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    """A service of the trained run with an index of its photos; the tests leave it as it is."""
    with in_a_thread(trained / "run", index=trained / "photos") as service:
        yield service


@pytest.fixture(scope="module")
def ask(running: Running) -> Iterator["httpx.Client"]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        yield client


def odd_images(folder: Path) -> list[Path]:
    """A photo, one that is turned by EXIF, one in CMYK, one with transparency, one of 16 bits, one larger than most."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 4)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise[..., :3]).save(folder / "plain.png")
    Image.fromarray(noise[..., :3]).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(noise, "CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise, "RGBA").save(folder / "clear.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(noise[..., :3]).resize((700, 500)).save(folder / "large.webp")
    return sorted(folder.iterdir())


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("views", [1, 10])
def test_a_prediction_is_what_the_command_says(ask, alexnet, trained, tmp_path, views):
    paths = odd_images(tmp_path)
    lines = alexnet("predict", trained / "run", *paths, "--views", views, "-k", 2, "--format", "json").out.splitlines()
    for path, line in zip(paths, lines, strict=True):
        expected = json.loads(line)
        answer = ask.post(f"/v1/predict?views={views}&k=2", content=path.read_bytes())
        assert answer.status_code == 200, path
        told = answer.json()
        assert [each["name"] for each in told["top"]] == [each["class"] for each in expected["top"]]
        for ours, theirs in zip(told["top"], expected["top"], strict=True):
            assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-6)
            assert NAMES[ours["index"]] == ours["name"]
        assert (told["views"], told["run"]) == (views, "run")
        assert told["model"] == fingerprint(load_model(open_run(trained / "run")))


def test_a_tar_archive_is_answered_image_by_image(ask, trained):
    paths = sorted((trained / "photos").rglob("*.png"))[:5]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in paths:
            archive.add(path, path.relative_to(trained).as_posix())
        broken = tarfile.TarInfo("broken.jpg")
        broken.size = 5
        archive.addfile(broken, io.BytesIO(b"hello"))
    told = ask.post("/v1/predict/batch?k=3", content=buffer.getvalue()).json()
    assert [each["name"] for each in told["images"]] == [
        *(path.relative_to(trained).as_posix() for path in paths),
        "broken.jpg",
    ]
    for path, each in zip(paths, told["images"], strict=False):
        alone = ask.post("/v1/predict?k=3", content=path.read_bytes()).json()["top"]
        assert [c["name"] for c in each["top"]] == [c["name"] for c in alone]
        assert [c["probability"] for c in each["top"]] == pytest.approx([c["probability"] for c in alone], abs=1e-6)
        assert each["error"] is None
    assert (told["images"][-1]["error"]["code"], told["images"][-1]["top"]) == ("E304", None)
    assert told["notes"] == []


def test_files_that_are_not_looked_at_are_said_in_the_answer_and_at_the_start(
    ask, trained, tmp_path, alexnet, monkeypatch
):
    content = (trained / "photos/red/0.png").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("a.png", "._a.png", "__MACOSX/b.png"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    told = ask.post("/v1/predict/batch", content=buffer.getvalue()).json()
    assert [each["name"] for each in told["images"]] == ["a.png"]
    assert told["notes"] == ["not used of the archive: 2 images in hidden files and folders"]
    photos = shutil.copytree(trained / "photos", tmp_path / "photos")
    shutil.copytree(photos / "red", photos / "@eaDir")
    note = f"not used of {photos}: 10 images in hidden files and folders"
    with in_a_thread(trained / "run", index=photos) as other:
        told = httpx.post(f"{other.url}/v1/similar?k=2", content=content).json()
    assert (told["images"], told["notes"]) == (30, [note])
    monkeypatch.setattr("alexnet.serving.start.serve_runs", lambda *runs, **options: None)
    for verb in ("serve", "explore"):
        assert alexnet(verb, trained / "run", "--index", photos).err == f"alexnet: {note}\n"


def test_why_is_the_sheet_that_the_command_draws(ask, alexnet, trained, tmp_path):
    path = trained / "photos/green/0.png"
    assert alexnet("why", trained / "run", path, "--class", "blue", "--out", tmp_path / "why.png").code == 0
    answer = ask.post("/v1/why", params={"method": "all", "class": "blue"}, content=path.read_bytes())
    assert answer.headers["content-type"] == "image/png"
    ours = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(ours, np.asarray(Image.open(tmp_path / "why.png")))
    assert answer.headers["x-alexnet-class"] == str(NAMES.index("blue"))
    top = ask.post("/v1/predict", content=path.read_bytes()).json()["top"]
    (blue,) = (each["probability"] for each in top if each["name"] == "blue")
    assert float(answer.headers["x-alexnet-probability"]) == pytest.approx(blue, abs=1e-5)


def test_activations_are_the_features_of_the_command(ask, alexnet, trained, tmp_path):
    path = trained / "photos/red/1.png"
    for layer in ("conv2", "fc7"):
        out = tmp_path / f"{layer}.npy"
        assert alexnet("features", trained / "run", path, "--layer", layer, "--out", out).code == 0
        expected = np.load(out)[0]
        told = ask.post(f"/v1/activations/{layer}", content=path.read_bytes()).json()
        assert (told["layer"], told["shape"]) == (layer, list(expected.shape))
        np.testing.assert_allclose(np.array(told["values"]), expected, atol=1e-5)
        npy = ask.post(f"/v1/activations/{layer}?format=npy", content=path.read_bytes())
        np.testing.assert_allclose(np.load(io.BytesIO(npy.content)), expected, atol=1e-5)
        png = ask.post(f"/v1/activations/{layer}?format=png", content=path.read_bytes())
        assert Image.open(io.BytesIO(png.content)).format == "PNG"


def test_a_sheet_of_activations_goes_from_black_to_white():
    maps = np.array([[[0.0, 1.0]] * 2, [[2.0, 3.0]] * 2, [[4.0, 4.0]] * 2], np.float32)
    drawn = activation_sheet(maps)[..., 0]
    # Two columns with a white line around each: 3 maps of 2 x 2 pixels, and the fourth place empty.
    expected = [
        [255] * 7,
        [255, 0, 64, 255, 128, 191, 255],
        [255, 0, 64, 255, 128, 191, 255],
        [255] * 7,
        [255, 255, 255, 255, 255, 255, 255],
        [255, 255, 255, 255, 255, 255, 255],
        [255] * 7,
    ]
    np.testing.assert_array_equal(drawn, expected)


def test_similar_images_are_the_nearest_and_follow_the_files(ask, running, trained, tmp_path):
    query = trained / "photos/blue/3.png"
    model = load_model(open_run(trained / "run"))
    paths = sorted((trained / "photos").rglob("*.png"))
    classifier = Classifier(model, (), 24, whole=True)
    vectors = features(classifier, paths, layer=last_hidden(model)).values.reshape(len(paths), -1)
    distances = np.sqrt(((vectors.astype(np.float64) - vectors[paths.index(query)]) ** 2).sum(1))
    told = ask.post("/v1/similar?k=4", content=query.read_bytes()).json()
    assert told["images"] == len(paths)
    assert told["found"][0] == {"path": "blue/3.png", "distance": pytest.approx(0, abs=1e-4)}
    assert [each["distance"] for each in told["found"]] == pytest.approx(sorted(distances)[:4], abs=1e-4)
    photos = shutil.copytree(trained / "photos", tmp_path / "photos")
    with in_a_thread(trained / "run", index=photos) as other:
        assert httpx.post(f"{other.url}/v1/similar", content=query.read_bytes()).json()["images"] == len(paths)
        shutil.copy(query, photos / "a copy.png")
        told = httpx.post(f"{other.url}/v1/similar?k=2", content=query.read_bytes()).json()
        assert {each["path"] for each in told["found"]} == {"a copy.png", "blue/3.png"}


def test_every_run_has_a_name_of_its_own(tmp_path):
    folders = [tmp_path / name for name in ("a/runs/photos", "b/runs/photos", "b/runs/trash", "c/photos")]
    names = ["a-runs-photos", "b-runs-photos", "trash", "c-photos"]
    assert _names(folders) == names
    assert _names([tmp_path / "x", Path("/")]) == ["x", ""]  # a slip, which is answered when it is opened


def test_a_counter_of_millions_counts_every_one():
    counters = service_counters()
    counters.add("alexnet_images_total", 1_234_567)
    assert "alexnet_images_total 1234567\n" in counters.text()
    counters.add("alexnet_images_total", 1)
    assert "alexnet_images_total 1234568\n" in counters.text()


def test_monitoring_reads_health_runs_and_metrics(ask, running):
    assert ask.get("/healthz").json() == {"status": "ok"}
    assert ask.get("/readyz").json() == {"status": "ready"}
    (run,) = ask.get("/v1/runs").json()["runs"]
    assert run["classes"] == list(NAMES)
    assert run["layers"][0] == "conv1"
    before = running.service.counters.value("alexnet_requests_total", path="/v1/predict", status="422")
    ask.post("/v1/predict", content=b"hello")
    text = ask.get("/metrics").text
    assert f'alexnet_requests_total{{path="/v1/predict",status="422"}} {before + 1:g}\n' in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{(\w+=\"[^\"]*\",?)*\})? [0-9.e+-]+", line), line


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", "/v1/predict", b"", 422, "E303"),
        ("POST", "/v1/predict", b"<html>", 422, "E304"),
        ("POST", "/v1/predict?views=5", b"", 422, "E265"),
        ("POST", "/v1/predict?k=none", b"", 422, "E265"),
        ("POST", "/v1/predict?run=x", b"", 404, "E269"),
        ("GET", "/v1/predict", b"", 405, "E267"),
        ("GET", "/", b"", 404, "E266"),
        ("GET", "/..%2f..%2fetc/passwd", b"", 404, "E266"),
        ("POST", "/v1/activations/conv9", b"", 404, "E235"),
        ("POST", "/v1/activations/..%2f..%2frecipe.json", b"", 404, "E266"),
        ("POST", "/v1/predict/batch", b"hello", 422, "E362"),
        ("POST", "/v1/predict/batch", b"", 422, "E363"),
    ],
)
def test_a_mistake_is_answered_in_words(ask, method, path, content, status, code):
    answer = ask.request(method, path, content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    told = answer.json()
    assert (told["status"], told["code"]) == (status, code)
    assert all(told[name] for name in ("title", "what", "where", "fix"))
    assert "Traceback" not in answer.text


def test_a_class_that_is_not_known_and_a_form_are_explained(ask, trained):
    data = (trained / "photos/red/0.png").read_bytes()
    answer = ask.post("/v1/why?class=dög", content=data)
    assert (answer.status_code, answer.json()["code"]) == (404, "E246")
    answer = ask.post("/v1/predict", files={"image": data})
    assert (answer.status_code, answer.json()["code"]) == (415, "E361")


def test_a_server_without_images_to_search_says_so(trained):
    with in_a_thread(trained / "run") as other:
        told = httpx.post(f"{other.url}/v1/similar", content=b"").json()
    assert (told["status"], told["code"]) == (404, "E268")


@examples(max_examples=60)
@given(
    st.binary(max_size=600) | st.builds(lambda a, b: PNG[:a] + b + PNG[a:], st.integers(0, 900), st.binary(max_size=9))
)
def test_no_bytes_make_it_fail(ask, data):
    for path in ("/v1/predict", "/v1/predict/batch"):
        assert ask.post(path, content=data).status_code in (200, 413, 422)


# --- many at once ----------------------------------------------------------------------------------------------------


class Held:
    """Makes prediction wait until it is released, and counts the images of each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls: list[int] = []
        answer = Classifier.look

        def waiting(classifier: Classifier, images: np.ndarray, views: int, **options: bool) -> np.ndarray:
            self.begun.set()
            assert self.go.wait(60)
            self.calls.append(len(images))
            return answer(classifier, images, views, **options)

        monkeypatch.setattr(Classifier, "look", waiting)


def until(client: "httpx.Client", line: str) -> None:
    """Requests the metrics until they have a line."""
    while line not in client.get("/metrics").text:
        pass


def test_requests_that_wait_are_computed_together(trained, monkeypatch):
    data = [path.read_bytes() for path in sorted((trained / "photos").rglob("*.png"))[:7]]
    with in_a_thread(trained / "run") as other, ThreadPoolExecutor(8) as pool:
        held = Held(monkeypatch)
        client = httpx.Client(base_url=other.url, trust_env=False, timeout=60)
        first = pool.submit(client.post, "/v1/predict", content=data[0])
        assert held.begun.wait(60)
        others = [pool.submit(client.post, "/v1/predict", content=each) for each in data[1:]]
        until(client, "alexnet_queue_images 7\n")
        held.go.set()
        told = [each.result().json()["top"] for each in [first, *others]]
        # The queue may have taken the seventh while it was still being decoded.
        assert sum(held.calls) == 7
        assert held.calls[0] == 1
        assert max(held.calls) >= 5
        for each, top in zip(data, told, strict=True):
            assert client.post("/v1/predict", content=each).json()["top"][0]["name"] == top[0]["name"]
        client.close()


def test_more_than_the_queue_holds_is_told_to_come_again(trained, monkeypatch):
    data = PNG
    with in_a_thread(trained / "run", queue=3, max_batch=3) as other, ThreadPoolExecutor(4) as pool:
        held = Held(monkeypatch)
        client = httpx.Client(base_url=other.url, trust_env=False, timeout=60)
        waiting = [pool.submit(client.post, "/v1/predict", content=data) for _ in range(3)]
        until(client, "alexnet_queue_images 3\n")
        refused = client.post("/v1/predict", content=data)
        assert (refused.status_code, refused.json()["code"]) == (503, "E520")
        assert refused.headers["retry-after"] == "1"
        held.go.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
        assert client.post("/v1/predict", content=data).status_code == 200
        client.close()


def test_who_has_gone_is_not_computed(trained, monkeypatch):
    with in_a_thread(trained / "run") as other, ThreadPoolExecutor(1) as pool:
        held = Held(monkeypatch)
        client = httpx.Client(base_url=other.url, trust_env=False, timeout=60)
        first = pool.submit(client.post, "/v1/predict", content=PNG)
        assert held.begun.wait(60)
        leaving = [connect(other.port) for _ in range(5)]
        for each in leaving:
            each.sendall(head(len(PNG)) + PNG)
        until(client, "alexnet_queue_images 6\n")
        for each in leaving:
            each.close()
        until(client, "alexnet_queue_images 1\n")
        held.go.set()
        assert first.result().status_code == 200
        assert client.get("/readyz").status_code == 200
        assert held.calls == [1]
        assert other.service.counters.value("alexnet_gone_total") == 5
        client.close()


def changed_run(trained: Path, folder: Path) -> Path:
    """A copy of the trained run."""
    return Path(shutil.copytree(trained / "run", folder))


def save_others(run_folder: Path, step: int) -> str:
    """Saves a checkpoint with other weights as the best one; the id of these."""
    run = open_run(run_folder)
    model = load_model(run)
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    save_checkpoint(run, model, {}, TrainingState(step=step), best=True)
    return fingerprint(load_model(run))


def test_new_weights_lose_no_request_and_every_answer_is_of_one_model(trained, tmp_path):
    folder = changed_run(trained, tmp_path / "run")
    expected: dict[str, float] = {}

    def remember(client: "httpx.Client") -> None:
        told = client.post("/v1/predict?k=3", content=PNG).json()
        expected[told["model"]] = told["top"][0]["probability"]

    with in_a_thread(folder) as other, httpx.Client(base_url=other.url, trust_env=False, timeout=60) as client:
        remember(client)
        done = threading.Event()
        answers: list[tuple[int, str, float]] = []

        def keep_asking() -> None:
            with httpx.Client(base_url=other.url, trust_env=False, timeout=60) as own:
                while not done.is_set():
                    told = own.post("/v1/predict?k=3", content=PNG)
                    answers.append((told.status_code, told.json()["model"], told.json()["top"][0]["probability"]))

        threads = [threading.Thread(target=keep_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        for step in (1001, 1002, 1003):
            saved = save_others(folder, step)
            told = client.post("/v1/reload").json()
            assert told == {"changed": ["run"], "runs": [{"run": "run", "model": saved}]}
            remember(client)
        done.set()
        for thread in threads:
            thread.join()
        assert client.post("/v1/reload").json()["changed"] == []
    assert len(expected) == 4
    assert len(answers) > 10
    for status, model, probability in answers:
        assert (status, probability) == (200, pytest.approx(expected[model], abs=1e-6))


def test_a_run_that_cannot_be_loaded_leaves_the_old_weights(trained, tmp_path):
    folder = changed_run(trained, tmp_path / "run")
    with in_a_thread(folder) as other, httpx.Client(base_url=other.url, trust_env=False, timeout=60) as client:
        before = client.post("/v1/predict", content=PNG).json()
        (folder / "recipe.json").write_text("{}")
        answer = client.post("/v1/reload")
        assert (answer.status_code, answer.json()["code"]) == (409, "E651")
        assert client.post("/v1/predict", content=PNG).json() == before


def test_two_runs_are_told_apart(trained, tmp_path):
    second = changed_run(trained, tmp_path / "other")
    saved = save_others(second, 1001)
    with in_a_thread(trained / "run", second) as other:
        named = {
            name: httpx.post(f"{other.url}/v1/predict?run={name}", content=PNG).json() for name in ("run", "other")
        }
        assert named["other"]["model"] == saved != named["run"]["model"]
        assert httpx.post(f"{other.url}/v1/predict", content=PNG).json() == named["run"]


# --- the process -----------------------------------------------------------------------------------------------------


def test_sigterm_answers_what_is_in_flight_and_ends_with_success(trained, tmp_path):
    folder = changed_run(trained, tmp_path / "run")
    with in_a_process(folder, "--device", "cpu") as other:
        saved = save_others(folder, 1001)
        other.process.send_signal(signal.SIGHUP)
        with httpx.Client(base_url=other.url, trust_env=False, timeout=60) as client:
            while client.post("/v1/predict", content=PNG).json()["model"] != saved:
                pass
        sockets = [connect(other.port) for _ in range(8)]
        for each in sockets:
            # The server says 100 when it has begun to read, so it is in the middle of the request.
            each.sendall(head(len(PNG), "/v1/predict", "Expect: 100-continue"))
            assert each.recv(1000).startswith(b"HTTP/1.1 100")
        other.process.send_signal(signal.SIGTERM)
        for each in sockets:
            each.sendall(PNG)
        assert [answer_of(each).status for each in sockets] == [200] * 8
        assert other.process.wait(30) == 0
        for each in sockets:
            each.close()


def test_the_command_refuses_in_words(alexnet, trained, tmp_path):
    assert alexnet("serve").err.startswith("alexnet: E202 ")
    assert alexnet("serve", tmp_path, "--port", "0").err.startswith("alexnet: E253 ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = alexnet("serve", trained / "run", "--port", taken.getsockname()[1])
    assert (outcome.code, outcome.err.split()[1]) == (5, "E524")


def test_the_examples_of_the_page_are_answered(trained, tmp_path):
    """Every curl line of docs/serve.md, as it stands there but for the address."""
    page = (ROOT / "docs/serve.md").read_text()
    lines = re.findall(r"^(?:tar .*\| )?curl .*$", page, re.MULTILINE)
    assert len(lines) >= 8
    shutil.copy(trained / "photos/red/0.png", tmp_path / "cat.jpg")
    shutil.copy(trained / "photos/blue/0.png", tmp_path / "dog.jpg")
    with in_a_thread(trained / "run", index=trained / "photos", token="TOKEN") as other:
        for line in lines:
            shown = re.sub(r"\s+#.*", "", line.replace("127.0.0.1:8000", f"127.0.0.1:{other.port}"))
            shown = shown.replace("class=cat", "class=red")
            if "Bearer" not in shown:
                shown = shown.replace("curl ", "curl -H 'Authorization: Bearer TOKEN' ")
            done = subprocess.run(
                ["bash", "-c", shown.replace("curl ", "curl -sSf --noproxy '*' ")], capture_output=True, cwd=tmp_path
            )
            assert done.returncode == 0, (line, done.stderr)
