"""Run folders whose checksums are right and whose files alexnet did not write: refused in words, by every verb.

Each case changes a copy of a run, then all checksums and pointers are made anew, as one who edits by hand would.
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from alexnet.errors import AlexNetError
from alexnet.runs.checkpoint import OWN_PATTERN
from alexnet.serving.models import ServedModels
from alexnet.storage.checksums import SUMS, lines, read_sums
from alexnet.storage.files import file_sha256
from harness.small_runs import call


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def seal(run: Path) -> None:
    """Makes the checksums of all files that are there anew, and the pointers."""
    for folder in (run, *(path for path in (run / "checkpoints").glob("*") if OWN_PATTERN.fullmatch(path.name))):
        if (folder / SUMS).is_file():
            names = [name for name in read_sums(folder) if (folder / name).is_file()]
            (folder / SUMS).write_bytes(lines({name: file_sha256(folder / name) for name in names}))
    for pointer in ("LAST", "BEST"):
        name = (run / pointer).read_text().split()[0]
        sums = run / "checkpoints" / name / SUMS
        if sums.is_file():
            (run / pointer).write_text(f"{name} {hashlib.sha256(sums.read_bytes()).hexdigest()}\n")


def newest(run: Path) -> Path:
    return run / "checkpoints" / (run / "LAST").read_text().split()[0]


def every(run: Path, name: str) -> list[Path]:
    """A file of the run: of the folder, or in all of its checkpoints."""
    return [run / name] if (run / name).exists() else sorted((run / "checkpoints").glob(f"*/{name}"))


def without(name):
    return lambda run: [path.unlink() for path in every(run, name)]


def content(name, new):
    return lambda run: [path.write_bytes(new) for path in every(run, name)]


def record(name, change):
    """Changes a file in JSON; `change` gets what is in it."""

    def apply(run):
        for path in every(run, name):
            path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return apply


def put(**fields):
    return lambda values: values | fields


def drop(field):
    return lambda values: {name: value for name, value in values.items() if name != field}


def temperature(value):
    """Another temperature for answers from ten views."""
    return lambda found: found | {"views": found["views"] | {"10": found["views"]["10"] | {"temperature": value}}}


def tensors(name, change):
    """Changes a file of tensors; `change` gets them by name, and changes them in place or gives others."""

    def apply(run):
        for path in every(run, name):
            found = safetensors.torch.load(path.read_bytes())
            safetensors.torch.save_file(change(found) or found, path, {"alexnet": "{}"})

    return apply


def first(values, part):
    return next(name for name in sorted(values) if name.startswith(part) and name.endswith("weight"))


def rename(part):
    return lambda t: t.update({"foreign": t.pop(first(t, part))})


def replace(part, change):
    return lambda t: t.update({first(t, part): change(t[first(t, part)])})


def holed(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[0] = float("nan")
    return tensor


def copied(name):
    return lambda run: shutil.copytree(newest(run), run / "checkpoints" / name)


def kernels(new):
    """Other kernels of the first epoch, with the checksum in its row."""

    def apply(run):
        (run / "conv1/epoch-00001.npy").write_bytes(new)
        digest = hashlib.sha256(new).hexdigest()
        for path in run.rglob("metrics.jsonl"):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            changed = [row | {"conv1": digest} if row.get("epoch") == 1 else row for row in rows]
            path.write_text("".join(json.dumps(row) + "\n" for row in changed))

    return apply


ALL, RESUMED, IMAGES = "resume predict evaluate verify serve", "resume verify", "resume verify evaluate"
DEEP = b"[" * 100_000
NO_RECORDS = {"empty": b"", "a number": b"7", "null": b"null", "not UTF-8": b"\xff\xfe", "deep": DEEP}
CONFIG = "model.safetensors"
# name -> (what is changed, the verbs that refuse it; the others do what they always do)
CASES = {
    "a later step, by its name": (copied("step-99999999"), RESUMED),
    "a file in the place of checkpoints": (
        lambda run: (shutil.rmtree(run / "checkpoints"), (run / "checkpoints").write_bytes(b"")),
        ALL,
    ),
    **{f"no {name}": (without(name), ALL) for name in ("recipe.json", "classes.json", "data.json", "environment.json")},
    **{
        f"{name} is {kind}": (content(name, new), ALL)
        for name in ("recipe.json", "classes.json", "data.json", "environment.json")
        for kind, new in NO_RECORDS.items()
    },
    "recipe.json is a list": (content("recipe.json", b"[]"), ALL),
    "recipe.json is an empty record": (content("recipe.json", b"{}"), ALL),
    "an unknown field in the recipe": (record("recipe.json", put(foreign=1)), ALL),
    "epochs are a text": (record("recipe.json", put(epochs="many")), ALL),
    "epochs below zero": (record("recipe.json", put(epochs=-3)), ALL),
    "the network is a text": (record("recipe.json", put(model="alexnet")), ALL),
    "another network": (record("recipe.json", lambda r: r | {"model": r["model"] | {"width": 0.125}}), ALL),
    "a network beyond any memory": (
        record("recipe.json", lambda r: r | {"model": r["model"] | {"fc_features": [10**7, 10**7]}}),
        ALL,
    ),
    "another optimizer": (record("recipe.json", lambda r: r | {"optim": r["optim"] | {"algorithm": "sgd"}}), RESUMED),
    "no average": (record("recipe.json", put(average_decay=0)), RESUMED),
    "classes are a record": (record("classes.json", lambda names: {"0": names}), ALL),
    "classes are numbers": (record("classes.json", lambda names: [1, 2, 3]), ALL),
    "a class too many": (record("classes.json", lambda names: [*names, "more"]), ALL),
    "a class too few": (record("classes.json", lambda names: names[1:]), ALL),
    "other classes": (record("classes.json", lambda names: ["one", "two", "three"]), IMAGES),
    "data is a list": (record("data.json", lambda data: [data]), ALL),
    "data is empty": (record("data.json", lambda data: {}), IMAGES),
    "no fingerprint": (record("data.json", drop("fingerprint")), IMAGES),
    "no source": (record("data.json", drop("source")), IMAGES),
    "the source is a number": (record("data.json", put(source=5)), ALL),
    "prepared is a list": (record("data.json", put(prepared=[])), ALL),
    "imported is a text": (record("data.json", put(imported="torchvision")), ALL),
    **{
        f"a temperature of {value}": (record("data.json", put(imported={"temperature": value})), ALL)
        for value in (float("nan"), float("inf"), 0, -1, 1e-300, 1e300, True, "1", [1])
    },
    "a temperature of 400 digits": (record("data.json", put(imported={"temperature": 10**400})), ALL),
    "max_pixels of 400 digits": (record("data.json", put(max_pixels=10**400)), ALL),
    "labels are null": (record("data.json", put(labels=None)), ALL),
    "excluded is a number": (record("data.json", put(excluded=3)), ALL),
    "excluded has other fields": (record("data.json", put(excluded=[{"file": "x"}])), ALL),
    "max_pixels is a text": (record("data.json", put(max_pixels="no")), ALL),
    "another fingerprint": (record("data.json", put(fingerprint="0" * 64)), IMAGES),
    "no model.safetensors": (without(CONFIG), ALL),
    **{
        f"no {name}": (without(name), RESUMED) for name in ("state.json", "training.safetensors")
    },  # no answer needs them
    "model.safetensors is empty": (content(CONFIG, b""), ALL),
    "model.safetensors is text": (content(CONFIG, b"a" * 400), ALL),
    "training.safetensors is empty": (content("training.safetensors", b""), RESUMED),
    "weights of another name": (tensors(CONFIG, rename("layers.conv1")), ALL),
    "weights of another shape": (tensors(CONFIG, replace("layers.conv1", lambda t: t[:, :1].clone())), ALL),
    "weights in another order": (tensors(CONFIG, replace("layers.fc8", lambda t: t.T.contiguous())), ALL),
    "weights as float16": (tensors(CONFIG, replace("layers.conv2", lambda t: t.half())), ALL),
    "weights as whole numbers": (tensors(CONFIG, replace("layers.conv2", lambda t: t.long())), ALL),
    "weights that are NaN": (tensors(CONFIG, replace("layers.conv3", holed)), ALL),
    "weights that are infinite": (tensors(CONFIG, replace("layers.fc6", lambda t: t / 0)), ALL),
    "no weights": (tensors(CONFIG, lambda t: {"x": torch.zeros(1)}), ALL),
    "a weight too many": (tensors(CONFIG, lambda t: t.update(more=torch.zeros(1))), ALL),
    "half a cue": (tensors(CONFIG, lambda t: t.update({"cue.color.anchors": torch.zeros(3, 512)})), ALL),
    "a cue of another name": (tensors(CONFIG, lambda t: t.update({"cue.smell.anchors": torch.zeros(3, 5)})), ALL),
    "raw weights of another name": (tensors("training.safetensors", rename("model/")), RESUMED),
    "raw weights that are NaN": (tensors("training.safetensors", replace("model/", holed)), RESUMED),
    "momentum of another shape": (
        tensors("training.safetensors", replace("optimizer/exp_avg/", lambda t: t[:1].clone())),
        RESUMED,
    ),
    "half of the optimizer": (
        tensors("training.safetensors", lambda t: {n: v for n, v in t.items() if "/exp_avg_sq/" not in n}),
        RESUMED,
    ),
    "an optimizer of foreign names": (
        tensors("training.safetensors", lambda t: t.update({"optimizer/step/foreign.weight": torch.zeros(())})),
        RESUMED,
    ),
    "averages of another shape": (
        tensors("training.safetensors", replace("average/", lambda t: t[:1].clone())),
        RESUMED,
    ),
    "no count of the average": (tensors("training.safetensors", lambda t: drop("averaged")(t)), RESUMED),
    "a short memory of the watchdog": (
        tensors("training.safetensors", lambda t: t.update(guard=torch.zeros(2, dtype=torch.float64))),
        RESUMED,
    ),
    "state is a list": (content("state.json", b"[]"), RESUMED),
    "state is empty": (content("state.json", b"{}"), RESUMED),
    "state is deep": (content("state.json", DEEP), RESUMED),
    "the step is a text": (record("state.json", put(step="5")), RESUMED),
    "the step is another": (record("state.json", put(step=1)), RESUMED),
    "the step is below zero": (record("state.json", put(step=-1)), RESUMED),
    "no step": (record("state.json", drop("step")), RESUMED),
    "the best step is a list": (record("state.json", put(best_step=[1])), RESUMED),
    "losses are NaN": (record("state.json", put(loss_sum=float("nan"))), RESUMED),
    "losses of 400 digits": (record("state.json", put(loss_sum=10**400)), RESUMED),
    "a step of 400 digits": (record("state.json", put(step=10**400)), RESUMED),
    "conditions are a list": (record("state.json", put(conditions=[])), RESUMED),
    "no conditions": (record("state.json", drop("conditions")), RESUMED),
    "conditions are numbers": (record("state.json", put(conditions={"threads": 1})), RESUMED),
    "rows are numbers": (content("metrics.jsonl", b"1\n2\n"), "verify"),
    **{
        f"calibration is {kind}": (content("calibration.json", new), "predict evaluate serve")
        for kind, new in {"a list": b"[]", "deep": DEEP, "a deep record": b'{"views":' * 100_000}.items()
    },
    **{
        f"a fitted temperature of {value}": (record("calibration.json", temperature(value)), "predict evaluate serve")
        for value in (float("nan"), float("inf"), 0, -1, 1e-300, 10**400, None)
    },
}


def harmless(run):
    """What systems and people put beside the files, and what nothing is computed from."""
    for path in (run, run / "checkpoints", newest(run)):
        (path / "Thumbs.db").write_bytes(b"x")
        (path / "desktop.ini").write_bytes(b"x")
    for name in (f"{newest(run).name} (copy)", "step-", "step-12x", "mine"):
        copied(name)(run)
    record("environment.json", put(foreign=[]))(run)
    for name in ("report.html", "evaluation.json"):
        content(name, b"")(run)
    kernels(b"not numpy")(run)


def outcome(verb: str, run: Path, image: Path) -> int:
    """The exit code of a verb; an exception that is no AlexNetError fails the test."""
    if verb == "serve":
        try:
            ServedModels([run], device="cpu")
        except AlexNetError as error:
            return error.exit_code
        return 0
    rest = {"resume": ["--device", "cpu"], "predict": [image, "--device", "cpu"], "evaluate": ["--device", "cpu"]}
    done = call(verb, run, *rest.get(verb, []))
    assert "Traceback" not in done.err
    assert (done.code == 0) == ("alexnet: E" not in done.err), done.err
    return done.code


VERBS = ("verify", "predict", "serve", "evaluate", "resume")  # the last may change the folder


@pytest.mark.parametrize("name", CASES)
def test_a_folder_that_alexnet_did_not_write_is_refused_in_words(run, trained, name):
    change, refusing = CASES[name]
    change(run)
    seal(run)
    image = next((trained / "photos").glob("*/*.png"))
    wanted = [verb for verb in VERBS if verb in refusing]
    assert [verb for verb in wanted if outcome(verb, run, image) != 0] == wanted


def test_what_others_put_beside_the_files_of_a_run_harms_no_verb(run, trained):
    harmless(run)
    seal(run)
    image = next((trained / "photos").glob("*/*.png"))
    assert {verb: outcome(verb, run, image) for verb in VERBS} == dict.fromkeys(VERBS, 0)
    said = call("filters", run, "--over-training", "--out", run.parent / "filters.png")
    assert (said.code, "E6060" in said.err) == (6, True)
    assert len(list((run / "checkpoints").glob("*"))) > 5


def test_what_resuming_needs_alone_does_not_stop_an_answer(run, trained):
    CASES["raw weights that are NaN"][0](run)
    seal(run)
    image = next((trained / "photos").glob("*/*.png"))
    assert [outcome(verb, run, image) for verb in ("predict", "serve", "evaluate")] == [0, 0, 0]
