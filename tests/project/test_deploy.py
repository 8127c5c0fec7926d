"""deploy/: fields and syntax by the tools that know them, and the entry points run as a cluster would run them."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from alexnet import errors
from alexnet.storage.checksums import read_sums
from harness import ROOT
from harness.faulty_server import serving
from harness.small_runs import TINY, call

SBATCH = ROOT / "deploy/slurm/train.sbatch"
JOB = ROOT / "deploy/kubernetes/train.yaml"
IN_POD = ROOT / "deploy/kubernetes/train-in-pod"
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()

RECIPE = (*TINY, "fit=none", "cues=none", "epochs=6", "evaluate_every=1", "--device", "cpu")


@pytest.mark.parametrize(("path", "shell"), [(SBATCH, "bash"), (IN_POD, "sh")], ids=["slurm", "pod"])
def test_the_scripts_are_sound(path, shell):
    assert os.access(IN_POD, os.X_OK)
    subprocess.run([shell, "-n", path], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    found = subprocess.run(["shellcheck", "--severity=warning", path], capture_output=True, text=True)
    assert found.stdout == ""


# --- what a cluster would run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory) -> dict[str, str]:
    """Checksums of the last network and of the state of training of a run that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "run"
    outcome = call("train", prepared.folder, *RECIPE, "--out", out)
    assert outcome.code == 0, outcome.err
    return last(out)


def last(run: Path) -> dict[str, str]:
    sums = read_sums(run / "checkpoints" / (run / "LAST").read_text().split()[0])
    return {name: sums[name] for name in ("model.safetensors", "training.safetensors")}


def stubs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which these programs are found first."""
    folder.mkdir(exist_ok=True)
    for name, script in {"python": f'exec {shlex.quote(sys.executable)} "$@"', **scripts}.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def stopped_by(number: int, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Starts it, sends the signal when the first epoch is told, and waits for its end: exit code and output."""
    told = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            if re.match(r" +1 +\d", line):
                process.send_signal(number)
                break
        told += process.stdout.readlines()
    return process.returncode, "".join(told)


SRUN = 'while [[ "$1" == --* ]]; do shift; done; exec "$@"'


def slurm(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a job on one node, in which `scontrol requeue` leaves a note."""
    scontrol = f'if [ "$1" = requeue ]; then echo "$2" >> {folder}/requeued; else printf "n1\\nn2\\n"; fi'
    environment = stubs(folder / "bin", srun=SRUN, scontrol=scontrol)
    job = {"SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n[1-2]"}
    return {**environment, **job, "RUN": str(folder / "run"), "PYTHONUNBUFFERED": "1", **more}


def test_a_job_that_slurm_warns_saves_is_requeued_and_ends_as_one_that_was_not(prepared, whole, tmp_path):
    with serving(prepared.folder) as server:
        environment = slurm(tmp_path, DATA=server.address)
        code, told = stopped_by(signal.SIGUSR1, ["bash", str(SBATCH), *RECIPE], environment)
        assert code == 0, told
        assert "stopped and saved at step" in told
        assert (tmp_path / "requeued").read_text() == "17\n"
        again = subprocess.run(["bash", SBATCH, *RECIPE], env=environment, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
    assert (tmp_path / "requeued").read_text() == "17\n"
    assert last(tmp_path / "run") == whole


def test_a_pod_that_kubernetes_ends_saves_and_the_next_ends_as_one_that_was_not(prepared, whole, tmp_path):
    with serving(prepared.folder) as server:
        given = {"DATA": server.address, "RUN": str(tmp_path / "run"), "NODES": "1", "ALEXNET_CACHE": str(tmp_path)}
        environment = stubs(tmp_path / "bin") | pod_environment() | given | {"PYTHONUNBUFFERED": "1"}
        code, told = stopped_by(signal.SIGTERM, [str(IN_POD), *RECIPE], environment)
        assert code == 143, told
        again = subprocess.run([IN_POD, *RECIPE], env=environment, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
    assert last(tmp_path / "run") == whole


def test_a_mistake_is_not_put_back_into_the_queue(tmp_path):
    srun = 'sleep 600 & trap "kill $!; exit 3" TERM; kill -USR1 $PPID; wait'
    environment = slurm(tmp_path, DATA="x")
    (tmp_path / "bin/srun").write_text(f"#!/bin/bash\n{srun}\n")
    assert subprocess.run(["bash", SBATCH], env=environment, timeout=60).returncode == 3
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize("code", [0, 3, 1])
def test_a_job_that_ends_by_itself_gives_its_exit_code(tmp_path, code):
    environment = slurm(tmp_path, DATA="x") | stubs(tmp_path / "bin", srun=f"exit {code}")
    environment |= {"SLURM_JOB_ID": "17", "RUN": str(tmp_path)}
    assert subprocess.run(["bash", SBATCH], env=environment).returncode == code
    assert not (tmp_path / "requeued").exists()


def said(command: list[Any], environment: dict[str, str], folder: Path) -> list[str]:
    """What the script would let python do."""
    echo = stubs(folder / "bin", python='printf "%s\\n" "$@"')
    found = subprocess.run(command, env={**environment, "PATH": echo["PATH"]}, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


def torchrun_options(words: list[str]) -> Any:
    """As torchrun itself reads them."""
    from torch.distributed.run import get_args_parser

    assert words[:2] == ["-m", "torch.distributed.run"]
    return get_args_parser().parse_args(words[2:])


@pytest.mark.parametrize("begun", [False, True])
def test_on_several_nodes_slurm_starts_torchrun(tmp_path, begun):
    environment = slurm(tmp_path, DATA="s3://b/set", SLURM_JOB_NUM_NODES="2", SLURM_GPUS_ON_NODE="4")
    if begun:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/recipe.json").touch()
    options = torchrun_options(said(["bash", SBATCH, "epochs=3"], environment, tmp_path))
    assert (options.nnodes, options.nproc_per_node) == ("2", "4")
    assert (options.rdzv_backend, options.rdzv_endpoint, options.rdzv_id) == ("c10d", "n1:29500", "17")
    run = str(tmp_path / "run")
    work = ["resume", run] if begun else ["train", "s3://b/set", "--out", run, "epochs=3"]
    assert (options.training_script, options.training_script_args) == ("alexnet", [*work, "--parallel", "data"])
    assert options.module


@pytest.mark.parametrize("index", ["0", "1"])
def test_pods_of_a_job_meet_at_the_first(tmp_path, index):
    environment = stubs(tmp_path / "bin") | pod_environment() | {"INDEX": index}
    options = torchrun_options(said([IN_POD, *container()["args"]], environment, tmp_path))
    assert (options.nnodes, options.nproc_per_node, options.rdzv_endpoint) == ("2", "1", "alexnet-0.alexnet:29500")
    assert options.rdzv_conf == f"is_host={'true' if index == '0' else 'false'}"
    args = ["train", environment["DATA"], "--out", "/runs/ilsvrc", "--recipe", "alexnet-2012", "--parallel", "data"]
    assert options.training_script_args == args


# --- the manifest ----------------------------------------------------------------------------------------------------


def documents() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(JOB.read_text()))


def job() -> dict[str, Any]:
    return documents()[2]["spec"]


def container() -> dict[str, Any]:
    (found,) = job()["template"]["spec"]["containers"]
    return found


def pod_environment() -> dict[str, str]:
    """What a pod of index 0 would find."""
    return {each["name"]: each.get("value", "0") for each in container()["env"]}


def unknown_fields(value: Any, kind: str, where: str = "") -> list[str]:
    """Fields that the official Python client does not know; `kind` is one of its names of types."""
    client = pytest.importorskip("kubernetes.client")
    inner = re.fullmatch(r"(?:[Ll]ist\[|[Dd]ict\(str, ?|[Dd]ict\[str, ?)(.+?)[\])]", kind)
    if inner and isinstance(value, list):
        return [bad for i, each in enumerate(value) for bad in unknown_fields(each, inner[1], f"{where}[{i}]")]
    if inner and isinstance(value, dict):
        return [bad for key, each in value.items() for bad in unknown_fields(each, inner[1], f"{where}.{key}")]
    model = getattr(client, kind, None)
    if model is None:
        python = {"str": str, "int": int, "bool": bool, "object": object}[kind]
        return [] if isinstance(value, python) else [f"{where}: {value!r} is no {kind}"]
    names = {theirs: ours for ours, theirs in model.attribute_map.items()}
    found = []
    for key, each in value.items():
        if key not in names:
            found.append(f"{where}.{key}")
        else:
            found += unknown_fields(each, model.openapi_types[names[key]], f"{where}.{key}")
    return found


def test_the_manifest_has_only_fields_of_the_api_with_values_it_takes():
    client = pytest.importorskip("kubernetes.client")

    class Answer:
        def __init__(self, document: dict[str, Any]):
            self.data = json.dumps(document)

    kinds = ["V1Service", "V1PersistentVolumeClaim", "V1Job"]
    for document, kind in zip(documents(), kinds, strict=True):
        assert f"V1{document['kind']}" == kind
        assert unknown_fields(document, kind) == []
    # The models themselves refuse required fields that are missing.
    api = client.ApiClient()
    made = api._ApiClient__deserialize(documents()[2], "V1Job")
    assert api.sanitize_for_serialization(made) == documents()[2]
    spoilt = documents()[2]
    spoilt["spec"]["completion"] = 2
    spoilt["spec"]["template"]["spec"]["containers"][0]["env"][0]["valeu"] = "x"
    assert unknown_fields(spoilt, "V1Job") == [".spec.template.spec.containers[0].env[0].valeu", ".spec.completion"]


def test_the_parts_of_the_manifest_fit_together():
    service, claim, whole = documents()
    pod, spec = job()["template"]["spec"], job()
    assert whole["apiVersion"] == "batch/v1"
    assert spec["completionMode"] == "Indexed"
    assert str(spec["completions"]) == str(spec["parallelism"]) == pod_environment()["NODES"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": whole["metadata"]["name"]}
    # A pod of an indexed job is called JOB-INDEX and has a name in DNS through subdomain and service of that name.
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pod_environment()["FIRST"] == f"{whole['metadata']['name']}-0.{pod['subdomain']}"
    assert pod_environment()["PORT"] == str(service["spec"]["ports"][0]["port"])
    assert {mount["name"] for mount in container()["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    places = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert pod_environment()["RUN"].startswith(places["runs"])
    assert pod_environment()["ALEXNET_CACHE"] == places["cache"]
    # podFailurePolicy is allowed with Never alone; the cache must be evicted by us before by the kubelet.
    assert pod["restartPolicy"] == "Never"
    (cache,) = [volume for volume in pod["volumes"] if volume["name"] == "cache"]
    limit = int(cache["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
    assert float(pod_environment()["ALEXNET_CACHE_GB"]) * 1e9 < limit
    kinds = (errors.UsageError, errors.DataError, errors.DivergedError, errors.UntrustedFileError)
    rule = spec["podFailurePolicy"]["rules"][1]["onExitCodes"]
    assert rule["values"] == [kind.exit_code for kind in kinds]
    assert rule["containerName"] == container()["name"]


# --- the container ---------------------------------------------------------------------------------------------------


def test_the_container_copies_what_is_there_and_runs_as_nobody():
    lines = [line.split() for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    for _, *words in (line for line in lines if line[0] == "COPY"):
        for source in [word for word in words if not word.startswith("--")][:-1]:
            assert (ROOT / source).exists()
            assert any(fnmatch(source, pattern) for pattern in kept), source
    users = [line[1] for line in lines if line[0] == "USER"]
    assert users == [str(job()["template"]["spec"]["securityContext"]["runAsUser"])]
    assert [line for line in lines if line[0] == "ARG" and line[1].endswith("/whl/cpu")]
    assert container()["command"] == [words[-1] for _, *words in lines if words[-1].endswith("train-in-pod")]
