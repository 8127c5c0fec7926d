"""results/*.json of the studies on reliability -> the table of docs/reliability.md.

python -m studies.robustness.reliability_table
"""

import json
import re
from typing import Any

from harness import ROOT
from studies.robustness.recording import fingerprint
from studies.robustness.reliability import MEASURED

PAGE = ROOT / "docs" / "reliability.md"
OLDER = "**older than the code:**"
Row = tuple[str, str, dict[str, Any]]  # what was done, what came of it, the figures with their command and machine
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """The rows in Markdown: what was done to it, what came of it, the command that does it again."""
    results = {name: _read(name) for name in ("reliability", "fuzz_images", "doctor", "mutation", "remote")}
    faults, fuzz, doctor = results["reliability"], results["fuzz_images"], results["doctor"]
    kills, bits, disk, memory = (faults[name] for name in ("kills", "bits", "disk", "memory"))
    cases = fuzz["rows"]
    total = {name: sum(row[name] for row in cases) for name in ("cases", "pixels", "DataError", "anything else")}
    planted = {
        name: kind for name, kind in doctor["planted"]["kinds"].items() if not name.startswith(("hard copy", "control"))
    }
    found = sum(kind["found"] >= kind["planted"] for kind in planted.values())
    killed = results["mutation"]["rows"]
    kinds = ("killed", "timed out", "survived", "not reached", "crashed")
    tried = sum(row.get(kind, 0) for row in killed for kind in kinds)
    share = sum(row.get(kind, 0) for row in killed for kind in kinds[:2]) / tried
    weakest = min(killed, key=lambda row: row["killed %"])
    rows = [
        (
            f"{kills['kills']} `kill -9` at random moments of a run of 800 steps ({kills['moments_that_differ']} "
            "different steps)",
            f"weights and optimizer {'equal' if kills['equal'] else 'NOT equal'} to the undisturbed run, byte for byte",
            kills,
        ),
        (
            f"{bits['flips']} single bits flipped, {bits['cuts']} files cut, over all {bits['files']} files of a run",
            f"{bits['flips_noticed']} and {bits['cuts_noticed']} noticed; {bits['went_on_from_the_one_before']} of "
            f"{bits['in_the_last_checkpoint']} in the last checkpoint: goes on from the one before",
            bits,
        ),
        (
            "a tmpfs that fills up while a run trains",
            f"exit code {disk['exit_code']}: {disk['said'][0]} After making room the run ends "
            f"{'equal' if disk['equal'] else 'NOT equal'} to the undisturbed one",
            disk,
        ),
        (
            f"{memory['steps']:,} steps with a look at val every 20 and a checkpoint every second",
            f"memory grows by {memory['slope_megabytes_per_1000_steps']:.2f} MB in 1,000 steps at "
            f"{memory['megabytes']:,} MB; open files: {', '.join(map(str, memory['open_files']))}",
            memory,
        ),
        (
            f"{total['cases']:,} mutated and cut images of {len(cases)} formats",
            f"{total['pixels']:,} read, {total['DataError']:,} refused in words, {total['anything else']} else; "
            f"slowest {max(row['slowest ms'] for row in cases):.0f} ms, most memory "
            f"{max(row['peak growth MB'] for row in cases):.0f} MB",
            fuzz,
        ),
        (
            f"{len(planted)} kinds of fault, 30 of each, planted among {doctor['control']['pictures']:,} photos",
            f"`alexnet doctor` finds all of {found} kinds; on the control it reports "
            f"{sum(doctor['control']['reported'].values())}",
            doctor,
        ),
        (
            f"{tried:,} mutants of {len(killed)} modules ({', '.join(row['module'] for row in killed)})",
            f"{100 * share:.1f} % killed by the tests; least in {weakest['module']}, {weakest['killed %']} %",
            {**results["mutation"], "command": "make mutation"},
        ),
        *service_rows(_read("service")),
    ]
    rows[1:1] = _parallel(_read("parallel_faults"))
    remote = results["remote"]
    rows.append(
        (
            f"training from a web server with {remote['faults']} faults of {len(remote['kinds'])} kinds "
            f"(HTTP 408 to 503, resets, silence, trickle, cut and wrong bytes) over {remote['files']} files",
            f"weights and optimizer {'equal' if remote['equal'] else 'NOT equal'} to a local run, byte for byte, after "
            f"{remote['requests']} requests; a shard that cannot be had is named: "
            + ", ".join(f"{kind} {code}" for kind, code in remote["lasting"].items()),
            remote,
        )
    )
    lines = ["| what was done | what came of it | command | commit, processor |", "|---|---|---|---|"]
    for what, came, part in rows:
        lines.append(f"| {what} | {came} | `{_today(part['command'])}` | {_measured(part)} |")
    return "\n".join(lines) + "\n"


def _measured(part: dict[str, Any]) -> str:
    """With which commit on which processor; and if so, that modules which were measured have changed since."""
    machine = part["machine"]
    where = f"{machine['commit']}, {machine['cpu'].replace('(R)', '')}"
    return where if part.get("modules") in (None, fingerprint(MEASURED)) else f"{OLDER} {where}"


def _parallel(found: dict[str, Any]) -> list[Row]:
    """The rows of runs of several processes, of those parts that were measured."""
    done = {
        "data": "`kill -9` of a random one of two processes, `--parallel data`, 400 steps",
        "towers": "`kill -9` of a random one of two processes, `--parallel towers` under torchrun, 400 steps",
        "hangs": "SIGSTOP of a random one of two processes, `--hang-seconds {hang_seconds}`",
        "nodes": "one of two nodes under torchrun dies ({dead_node_had_the_leader} had the leader), `--exact`",
    }
    rows = []
    for name, what in done.items():
        if part := found.get(name):
            took = part["seconds_to_the_next_step"]
            came = (
                f"{part['came_back']} came back, {took['median']} s to the next step ({took['most']} at most; "
                f"{part['load']} processes wanted the two cores); weights and optimizer "
                f"{'equal' if part['equal'] else 'NOT equal'} to the undisturbed run, byte for byte"
            )
            times = "once" if part["disturbed"] == 1 else f"{part['disturbed']} times"
            rows.append((f"{times}: {what.format(**part)}", came, part))
    return rows


def service_rows(found: Any) -> list[Row]:
    """The rows of the service, of those parts that have been run."""
    return [
        (f"`alexnet serve`: {what}", came(found[name]), found[name]) for name, what, came in SERVICE if name in found
    ]


def _oversize(part: Any) -> str:
    said, cut = part["says so"], part["chunked"]
    return (
        f"{_statuses(said)} after {said['p50_ms']} ms (most {said['most_ms']}), {_statuses(cut)} after {cut['p50_ms']} "
        f"(most {cut['most_ms']}); memory {part['megabytes_more']:+.1f} MB"
    )


def _slow(part: Any) -> str:
    last = part["last_closed_after_seconds"]
    beside, alone = part["ordinary_beside_them"], part["ordinary_alone"]
    return (
        f"{sum(part['closed'].values())} closed, the last after {last['silent']} s (silent), {last['headers']} s "
        f"(headers), {last['body']} s (body); p95 of an ordinary client {beside['p95_ms']} ms, without them "
        f"{alone['p95_ms']}"
    )


def _malformed(part: Any) -> str:
    fivefold = sum(count for status, count in part["statuses"].items() if status.startswith("5"))
    return (
        f"{_statuses(part)}, {fivefold} of 5xx; median {part['p50_ms']} ms; memory "
        f"{part['megabytes_after_the_first_1000']:.0f} MB after the first 1,000, {part['megabytes_at_the_end']:.0f} "
        f"at the end; open files {part['open_files'][0]} and {part['open_files'][1]}"
    )


def _today(command: str) -> str:
    """The recorded command as one types it where the studies now stand."""
    return re.sub(r"python studies/(\w+)\.py", r"python -m studies.robustness.\1", command)


def _load(part: Any) -> str:
    batches, single, light = part["batches"], part["one at a time"], part["at_80_percent"]
    return (
        f"{batches['per_second']} images a second in batches of {part['mean_batch']} on average, "
        f"{single['per_second']} one at a time: {part['times']}x; only {_statuses(batches)}; at 80 % load p50 "
        f"{light['p50_ms']:.0f} ms, p99 {light['p99_ms']:.0f}"
    )


def _backpressure(part: Any) -> str:
    refused, accepted = part["refused"], part["accepted"]
    return (
        f"{_statuses(part)}; refused with Retry-After in {refused['p50_ms']} ms (p99 {refused['p99_ms']}), accepted "
        f"p99 {accepted['p99_ms']:.0f} ms where 64 images take {part['queue_by_throughput_ms']:.0f}; the next answer "
        f"after {part['next_answer']['ms']:.0f} ms"
    )


def _attacks(part: Any) -> str:
    told = ", ".join(f"{name} {'/'.join(found)}" for name, found in part["statuses"].items() if name != "rightful")
    return f"{told}; policy and nosniff on {part['with_policy_and_nosniff']} of {part['answers']} answers"


def _statuses(part: Any) -> str:
    return ", ".join(f"{count:,} x {status}" for status, count in part["statuses"].items())


SERVICE: tuple[tuple[str, str, Any], ...] = (
    ("oversize", "20 requests each of more than 20 MB that say so, and that do not", _oversize),
    ("slow", "200 connections that are silent or drip headers or a body", _slow),
    ("malformed", "mutated and cut images, bombs, broken archives, one after the other", _malformed),
    (
        "contract",
        "everything schemathesis makes of its OpenAPI description",
        lambda part: f"{part['requests']:,} requests, failures: {part['failures']}",
    ),
    ("load", "64 clients on the network of 2012", _load),
    ("backpressure", "256 clients on a queue of 64", _backpressure),
    (
        "gone",
        "500 clients that ask and hang up",
        lambda part: (
            f"{part['not_computed']} not computed, {part['computed_of_them']} computed; open files "
            f"{part['open_files'][0]} before, {part['open_files'][1]} after"
        ),
    ),
    (
        "stop",
        "SIGTERM with 32 requests in flight",
        lambda part: f"{_statuses(part)}, exit code {part['exit_code']} after {part['seconds']} s",
    ),
    ("attacks", "foreign names and pages, no token, on every route", _attacks),
    (
        "reload",
        "weights exchanged ten times under the requests of 8 clients",
        lambda part: f"{part['requests']:,} answers of {part['models']} models, {part['wrong']} wrong or lost",
    ),
)


def with_table(page: str) -> str:
    """The page with its table as the results have it."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def _read(name: str) -> Any:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
