"""What a run of several processes survives: kills, hangs and dead nodes, at random moments, against an undisturbed run.

    python -m studies.robustness.parallel_faults [data] [towers] [hangs] [nodes]

Every part is one job that is disturbed again and again, and writes its figures into results/parallel_faults.json;
docs/reliability.md has them as a table. Linux; all of it takes ten minutes on two free cores.
"""

import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.job_faults import ALEXNET, Job, agent, final, job, saved, torchrun, wait_for
from studies.robustness.recording import ROOT, machine
from studies.robustness.reliability import pictures

RESULTS = ROOT / "results" / "parallel_faults.json"
KILLS, HANGS, NODES = 10, 5, 5
HANG_SECONDS = 3
PATIENCE = 900.0  # seconds after which what is waited for has failed
SEED = 0
RECIPE = (
    *("--recipe", "demo", "model.crop_size=20", "model.width=0.0625", "batch_size=16", "epochs=20"),
    *("average_decay=0.9", "mixup=0.5", "cutmix=0.2", "--device", "cpu", "--save-seconds", "0.05"),
)


def train(data: Path, out: Path, *options: Any) -> tuple[Any, ...]:
    """The command line of a small run with every ingredient that has a state or is drawn."""
    return ("train", data, *RECIPE, "--out", out, *options)


def until_saved(run: Path, step: int, started: Job) -> None:
    """Waits for a checkpoint of a step after that one, or the end of the job."""
    wait_for(lambda: saved(run) > step or started.process.poll() is not None, started.said(), PATIENCE)


def until_others(started: Job, workers: dict[int, int]) -> None:
    """Waits until none of these workers is left."""
    wait_for(lambda: not set(started.workers().values()) & set(workers.values()), started.said(), PATIENCE)


def until_two(nodes: list[Job]) -> None:
    """Waits until both nodes take part."""
    wait_for(lambda: {rank for node in nodes for rank in node.workers()} == {0, 1}, "two nodes", PATIENCE)


def undisturbed(folder: Path, *command: Any) -> None:
    """Runs a command to its end."""
    with job(*command, said=folder / "said-whole.txt") as whole:
        if whole.end(4 * PATIENCE):
            raise SystemExit(whole.said())


def disturbed(run: Path, started: Job, number: int, signal_number: int) -> dict[str, Any]:
    """Sends a random worker that signal at random moments; how long until a checkpoint of a later step stands."""
    chance = random.Random(SEED)
    ranks, seconds, steps = [], [], []
    for _ in range(number):
        until_saved(run, saved(run) + 2, started)
        time.sleep(chance.uniform(0, 0.3))
        workers = started.workers()
        if started.process.poll() is not None or len(workers) < 2:
            break
        rank = chance.randrange(2)
        os.kill(workers[rank], signal_number)
        moment = time.monotonic()
        until_others(started, workers)
        at = saved(run)
        until_saved(run, at, started)
        seconds.append(time.monotonic() - moment)
        ranks.append(rank)
        steps.append(at)
    code = started.end(4 * PATIENCE)
    return {
        "disturbed": len(steps),
        "came_back": len(steps) if code == 0 else len(steps) - 1,
        "exit_code": code,
        "ranks": ranks,
        "steps": steps,
        "seconds_to_the_next_step": {
            "median": round(statistics.median(seconds), 1),
            "most": round(max(seconds), 1),
        },
    }


def kills(scheme: str, folder: Path) -> dict[str, Any]:
    """A job of two processes, of which ten times one is killed: data by alexnet's launcher, towers by torchrun."""
    data = pictures(folder / "pictures").folder

    def command(out: Path) -> tuple[Any, ...]:
        options = train(data, out, "--parallel", scheme)
        if scheme == "data":
            return (*ALEXNET, *options, "--nproc", 2, "--max-restarts", KILLS)
        return torchrun(*options, restarts=KILLS)

    undisturbed(folder, *command(folder / "whole"))
    with job(*command(folder / "run"), said=folder / "said.txt") as started:
        found = disturbed(folder / "run", started, KILLS, signal.SIGKILL)
    return {**found, "equal": final(folder / "run") == final(folder / "whole")}


def hangs(folder: Path) -> dict[str, Any]:
    """The same, stopped instead of killed."""
    data = pictures(folder / "pictures").folder
    options = ("--parallel", "data", "--nproc", 2, "--max-restarts", 2 * HANGS, "--hang-seconds", HANG_SECONDS)
    undisturbed(folder, *ALEXNET, *train(data, folder / "whole", *options))
    command = (*ALEXNET, *train(data, folder / "run", *options))
    with job(*command, said=folder / "said.txt") as started:
        found = disturbed(folder / "run", started, HANGS, signal.SIGSTOP)
        told = started.said().count("did not answer in time")
    equal = final(folder / "run") == final(folder / "whole")
    return {**found, "hang_seconds": HANG_SECONDS, "told": told, "equal": equal}


def nodes(folder: Path) -> dict[str, Any]:
    """Two agents of one process each; five times one of them dies with its worker, and another comes in its place."""
    data, run, chance = pictures(folder / "pictures").folder, folder / "run", random.Random(SEED)
    undisturbed(folder, *ALEXNET, *train(data, folder / "whole", "--parallel", "data", "--exact"))
    command = agent(folder / "meeting", *train(data, run, "--parallel", "data", "--exact"), restarts=4 * NODES)
    came, led, seconds = 0, [], []
    with ExitStack() as stack:
        started = [stack.enter_context(job(*command, said=folder / f"said-{n}.txt")) for n in range(2)]
        for number in range(NODES):
            until_two(started)
            until_saved(run, saved(run) + 2, started[0])
            time.sleep(chance.uniform(0, 0.3))
            dead = started.pop(chance.randrange(2))
            workers = dead.workers()
            led.append(0 in workers)
            dead.kill()
            moment, at = time.monotonic(), saved(run)
            until_saved(run, at + 1, started[0])
            seconds.append(time.monotonic() - moment)
            came += saved(run) > at + 1
            started.append(stack.enter_context(job(*command, said=folder / f"said-{number + 2}.txt")))
        codes = [each.end(4 * PATIENCE) for each in started]
    return {
        "disturbed": NODES,
        "came_back": came,
        "dead_node_had_the_leader": sum(led),
        "exit_codes": codes,
        "seconds_to_the_next_step": {"median": round(statistics.median(seconds), 1), "most": round(max(seconds), 1)},
        "equal": final(run) == final(folder / "whole"),
    }


def main() -> None:
    """Runs the parts that are named, or all."""
    parts = {
        "data": lambda folder: kills("data", folder),
        "towers": lambda folder: kills("towers", folder),
        "hangs": hangs,
        "nodes": nodes,
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or list(parts):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures = parts[name](Path(folder))
        results[name] = {
            "command": f"python -m studies.robustness.parallel_faults {name}",
            "seed": SEED,
            "load": round(os.getloadavg()[1], 1),  # processes that wanted to run, over five minutes
            "seconds": round(time.monotonic() - started, 1),
            "machine": machine(("torch",)),
            **figures,
        }
        print(name, json.dumps(figures), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
