"""What a run survives: forty kills, flipped bits, cut files, a full disk, and whether its memory grows.

    python -m studies.robustness.reliability [kills] [bits] [disk] [memory]

Each part writes its figures into results/reliability.json; docs/reliability.md has them as a table. `disk` mounts a
small tmpfs, for which Linux wants root. All of it takes about eight minutes on one core.
"""

import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Prepared, open_prepared
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.errors import AlexNetError, ResourceError
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.runs.checkpoint import checkpoint_name, load_checkpoint
from alexnet.runs.damage import damage_of
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.storage.checksums import read_sums
from alexnet.training.loop import train
from alexnet.training.monitor import Monitor
from harness import ROOT
from harness.killed_training import go_on
from studies.robustness.recording import fingerprint, machine

RESULTS = ROOT / "results" / "reliability.json"
KILLS, FLIPS, CUTS, SOAK_STEPS = 40, 500, 200, 12_000
SEED = 0
# What a run writes and what finds damage in it: figures older than these are refused by a test.
MEASURED = tuple(
    f"alexnet/{name}.py"
    for name in (
        *(
            "runs/run",
            "runs/checkpoint",
            "runs/damage",
            "runs/forms",
            "runs/room",
            "runs/metrics",
            "runs/kernel_history",
        ),
        *("storage/checksums", "storage/files"),
    )
)


def pictures(folder: Path) -> Prepared:
    """320 training and 64 val images of noise in two classes."""
    splits = {}
    for seed, (name, count) in enumerate({"train": 320, "val": 64}.items()):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3)).astype(np.uint8)
        names = tuple(f"{name}/{i}" for i in range(count))
        splits[name] = Samples(names, np.arange(count, dtype=np.int64) % 2, arrays=pixels)
    prepare(Source("noise", ("a", "b"), splits), folder, size=24)
    return open_prepared(folder)


def small_recipe(*changes: str) -> Recipe:
    """AlexNet a sixteenth as wide on crops of 20 pixels, with every ingredient that has a state or is drawn."""
    config = AlexNetConfig(crop_size=20, width=1 / 16, conv1_kernel=5, conv1_stride=1, conv1_padding=2, init="kaiming")
    recipe = replace(Recipe(), model=config, prepare_size=24, batch_size=16, epochs=40)
    return for_classes(override(recipe, ["average_decay=0.9", "mixup=0.5", "cutmix=0.2", *changes]), 2)


def new_run(folder: Path, prepared: Prepared, *changes: str) -> RunFolder:
    """A run folder for these images."""
    return create_run(folder, small_recipe(*changes), prepared.class_names, {"fingerprint": prepared.fingerprint})


def final(run: RunFolder) -> dict[str, str]:
    """Checksums of the last network and of all that training needs."""
    sums = read_sums(run.folder / "checkpoints" / str(checkpoint_name(run, "LAST")))
    return {name: sums[name] for name in ("model.safetensors", "training.safetensors")}


def killed(
    folder: Path,
    prepared: Prepared,
    *,
    device: str = "cpu",
    times: int = KILLS,
    until: float = math.inf,
    save_seconds: float = 0.05,
    changes: Sequence[str] = (),
) -> dict[str, Any]:
    """A run of 800 steps, killed 40 times at random moments, against the same undisturbed.

    Args:
        until: no more kills after this time of `time.monotonic`.
        save_seconds: between two checkpoints.
        changes: of the recipe, `epochs=2` for 40 steps.
    """
    whole, run = new_run(folder / "whole", prepared, *changes), new_run(folder / "killed", prepared, *changes)
    where = (str(prepared.folder), save_seconds, device)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["alexnet.training.loop", "harness.killed_training"])
    for _ in range(2):  # the first loads what the second has ready
        started = time.monotonic()
        shutil.rmtree(whole.folder)
        whole = new_run(folder / "whole", prepared, *changes)
        process = context.Process(target=go_on, args=(str(whole.folder), *where))
        process.start()
        process.join()
        seconds = time.monotonic() - started
    chance, kills, steps = random.Random(SEED), 0, []
    while kills < times and time.monotonic() < until:
        process = context.Process(target=go_on, args=(str(run.folder), *where))
        process.start()
        # Most after it has saved anew, so that the moments spread over the run; some before it has begun.
        saved = checkpoint_name(run, "LAST")
        while kills % 8 and checkpoint_name(run, "LAST") == saved and process.is_alive():
            time.sleep(0.002)
        process.join(chance.uniform(0, seconds / times))
        if not process.is_alive():
            break
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        kills += 1
        found = load_checkpoint(open_run(run.folder))
        steps.append(0 if found is None else found.state.step)
    process = context.Process(target=go_on, args=(str(run.folder), *where))
    process.start()
    process.join()
    return {
        "kills": kills,
        "steps_at_kills": steps,
        "moments_that_differ": len(set(steps)),
        "equal": final(run) == final(whole),
        "damage": damage_of(run),
    }


def bits(folder: Path, prepared: Prepared) -> dict[str, Any]:
    """Single bits flipped and files cut, over all files of a run with two checkpoints."""
    run = new_run(folder / "bits", prepared, "epochs=2")
    train(run, prepared, device=torch.device("cpu"), save_seconds=0.0)
    files = sorted(path for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock")
    chance = random.Random(SEED)
    found = {"flips": 0, "flips_noticed": 0, "cuts": 0, "cuts_noticed": 0, "went_on_from_the_one_before": 0}
    last = checkpoint_name(run, "LAST") or ""
    for number in range(FLIPS + CUTS):
        path = files[number % len(files)]
        content = path.read_bytes()
        if number < FLIPS:
            changed = bytearray(content)
            bit = chance.randrange(8 * len(content))
            changed[bit // 8] ^= 1 << bit % 8
            kind = "flips"
        else:
            changed = bytearray(content[: chance.randrange(len(content))])
            kind = "cuts"
        path.write_bytes(changed)
        found[kind] += 1
        found[f"{kind}_noticed"] += bool(damage_of(run))
        if path.parent.name == last:
            stored = load_checkpoint(open_run(run.folder))
            assert stored is not None
            assert stored.damage
            found["went_on_from_the_one_before"] += stored.state.step < int(last.removeprefix("step-"))
            found.setdefault("in_the_last_checkpoint", 0)
            found["in_the_last_checkpoint"] += 1
        path.write_bytes(content)
    assert damage_of(run) == []
    return {"files": len(files), **found}


def disk(folder: Path, prepared: Prepared) -> dict[str, Any]:
    """A tmpfs that fills up while a run trains: what is said, and what is left."""
    whole = new_run(folder / "whole-disk", prepared, "epochs=3")
    train(whole, prepared, device=torch.device("cpu"))
    size = sum(
        path.stat().st_size for path in (whole.folder / "checkpoints" / str(checkpoint_name(whole, "LAST"))).iterdir()
    )
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={8 * size}", "tmpfs", str(small)], check=True)
    try:
        run = new_run(small / "run", prepared, "epochs=3")
        filler, usage = small / "filler", shutil.disk_usage

        class Filling(Monitor):
            def step(self, progress: Any) -> None:
                if progress.step == 30:
                    filler.unlink(missing_ok=True)
                    filler.write_bytes(b"0" * (usage(small).free - size // 2))

        said = []
        for looked in (True, False):  # with the look at the free space, and without: the write itself fails
            try:
                if not looked:
                    shutil.disk_usage = lambda path: usage(path)._replace(free=10**12)  # type: ignore[assignment]
                train(run, prepared, device=torch.device("cpu"), monitor=Filling(), save_seconds=0.0)
            except ResourceError as error:
                said.append(str(error).replace(str(folder), "").splitlines()[0].split(" (")[0])
            finally:
                shutil.disk_usage = usage
            assert damage_of(run) == []
        stored = load_checkpoint(run)
        filler.unlink()
        train(open_run(run.folder), prepared, device=torch.device("cpu"))
        return {
            "said": said,
            "exit_code": ResourceError.exit_code,
            "kept_step": stored.state.step if stored else 0,
            "equal": final(run) == final(whole),
        }
    finally:
        subprocess.run(["umount", str(small)], check=True)


def memory(folder: Path, prepared: Prepared) -> dict[str, Any]:
    """Resident memory and open files over a long run that saves and looks at val all the time."""
    run = new_run(folder / "soak", prepared, f"epochs={SOAK_STEPS // 20}")
    page = resource.getpagesize()
    seen: list[tuple[int, float, int]] = []

    class Watching(Monitor):
        def step(self, progress: Any) -> None:
            if progress.step % 100 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                seen.append((progress.step, pages * page / 1e6, len(os.listdir("/proc/self/fd"))))

    train(run, prepared, device=torch.device("cpu"), monitor=Watching(), save_seconds=1.0)
    late = [row for row in seen if row[0] > SOAK_STEPS // 4]
    slope = np.polyfit([row[0] for row in late], [row[1] for row in late], 1)[0]
    return {
        "steps": SOAK_STEPS,
        "megabytes": round(late[-1][1]),
        "slope_megabytes_per_1000_steps": round(1000 * float(slope), 3),
        "open_files": sorted({row[2] for row in late}),
    }


def main() -> None:
    """Runs the parts that are named, or all."""
    torch.set_num_threads(1)
    parts = {"kills": killed, "bits": bits, "disk": disk, "memory": memory}
    chosen = sys.argv[1:] or list(parts)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            try:
                figures = parts[name](Path(folder), pictures(Path(folder) / "pictures"))
            except AlexNetError as error:
                sys.exit(str(error))
        seconds = round(time.monotonic() - started, 1)
        results[name] = {
            "command": f"python -m studies.robustness.reliability {name}",
            "seed": SEED,
            "seconds": seconds,
            "machine": machine(("torch", "numba", "numpy")),
            "modules": fingerprint(MEASURED),
            **figures,
        }
        print(name, json.dumps(figures))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
