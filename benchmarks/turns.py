"""Variants that live in a process each and take turns: settings of allocators and pools of threads stay apart.

A script calls `in_turns` in its parent process and `serve` in the children that this starts.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from measuring import interleaved


def in_turns(script: str, variants: Sequence[str], arguments: Sequence[str], rounds: int) -> dict[str, float]:
    """Median seconds of each variant: `script --worker VARIANT ARGUMENTS` is started once for each."""
    children = {}
    for variant in variants:
        command = [sys.executable, script, "--worker", variant, *arguments]
        children[variant] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(child: "subprocess.Popen[str]") -> Callable[[], float]:
        assert child.stdin is not None
        assert child.stdout is not None
        write, read = child.stdin, child.stdout

        def once() -> float:
            write.write("go\n")
            write.flush()
            return float(read.readline())

        return once

    try:
        return interleaved({variant: turn(child) for variant, child in children.items()}, rounds)
    finally:
        for child in children.values():
            child.communicate()


def serve(run: Callable[[], Any], repeats: int = 1) -> None:
    """Runs once for every line that comes in and answers with its seconds, after one that does not count.

    Args:
        repeats: calls of one turn; the answer is their mean. The uncounted one wakes threads and fills caches.
    """
    for _ in sys.stdin:
        run()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        print((time.perf_counter() - start) / repeats, flush=True)
