"""What the studies share: a JSON file that says what was found, by which command, on which machine and commit."""

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import ROOT


def machine(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Processor, versions and commit."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    # What a study writes does not make the code it was run on another one.
    git = ["git", "-C", str(ROOT), "status", "--porcelain", "--", ".", ":!results"]
    dirty = bool(subprocess.run(git, capture_output=True, text=True).stdout.strip())
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "cpu": names[0] if names else platform.processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "commit": head.stdout.strip() + "-dirty" * dirty,
    }


def fingerprint(modules: Iterable[str]) -> str:
    """Of the modules that a study measures, as they are now: a test refuses figures that are older than these."""
    digest = hashlib.sha256()
    for name in modules:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def record(path: Path, packages: tuple[str, ...], **found: Any) -> None:
    """Writes what was found with the command and the machine."""
    script = Path(sys.argv[0]).resolve()
    module = ".".join(script.relative_to(ROOT).with_suffix("").parts) if script.is_relative_to(ROOT) else script.stem
    command = shlex.join(["python", "-m", module, *sys.argv[1:]])
    content = {"command": command, "machine": machine(packages), **found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
