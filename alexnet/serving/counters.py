"""Counters and histograms of the service, in the text format of Prometheus (version 0.0.4)."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)

Labels = tuple[tuple[str, str], ...]


class Counters:
    """Counters, histograms and gauges; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._help: dict[str, tuple[str, str]] = {}  # name -> type, help
        self._counts: dict[str, Counter[Labels]] = defaultdict(Counter)
        self._histograms: dict[str, tuple[Sequence[float], dict[Labels, list[float]]]] = {}
        self._gauges: dict[str, Callable[[], Mapping[Labels, float]]] = {}

    def counter(self, name: str, about: str) -> None:
        """Declares a counter, so that it is shown as 0 before the first event."""
        self._help[name] = ("counter", about)
        self._counts[name][()] += 0

    def histogram(self, name: str, about: str, edges: Sequence[float]) -> None:
        """Declares a histogram; `edges` are the upper limits of its buckets."""
        self._help[name] = ("histogram", about)
        self._histograms[name] = (edges, {})

    def gauge(self, name: str, about: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Declares a value that `read` gives whenever the metrics are requested."""
        self._help[name] = ("gauge", about)
        self._gauges[name] = read

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Increases a counter."""
        with self._lock:
            self._counts[name][tuple(labels.items())] += amount  # type: ignore[assignment]

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds a value to a histogram."""
        with self._lock:
            edges, rows = self._histograms[name]
            row = rows.setdefault(tuple(labels.items()), [0.0] * (len(edges) + 2))
            for i, edge in enumerate(edges):
                row[i] += value <= edge
            row[-2] += 1
            row[-1] += value

    def value(self, name: str, **labels: str) -> float:
        """The present value of a counter."""
        with self._lock:
            return self._counts[name][tuple(labels.items())]

    def text(self) -> str:
        """All metrics, one value on a line."""
        lines: list[str] = []
        gauges = {name: dict(read()) for name, read in self._gauges.items()}
        with self._lock:
            for name, (kind, about) in self._help.items():
                lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
                if kind == "histogram":
                    edges, rows = self._histograms[name]
                    for labels, row in rows.items():
                        for edge, count in zip((*map(str, edges), "+Inf"), row, strict=False):
                            lines.append(_line(f"{name}_bucket", (*labels, ("le", edge)), count))
                        lines.append(_line(f"{name}_count", labels, row[-2]))
                        lines.append(_line(f"{name}_sum", labels, row[-1]))
                    continue
                counts = gauges.get(name, self._counts.get(name, {}))
                # The declared zero disappears as soon as there are counts with labels.
                lines += [_line(name, k, v) for k, v in counts.items() if k or len(counts) == 1 or v]
        return "\n".join(lines) + "\n"


def service_counters() -> Counters:
    """The metrics of the service, all at zero."""
    counters = Counters()
    counters.counter("alexnet_requests_total", "Responses by path and status.")
    counters.counter("alexnet_refused_total", "Refused requests by the code of the error.")
    counters.counter("alexnet_images_total", "Images computed.")
    counters.counter("alexnet_gone_total", "Images not computed because the client had disconnected.")
    counters.counter("alexnet_reloads_total", "Reloads of the weights.")
    counters.histogram("alexnet_request_seconds", "From the headers of a request to its response.", SECONDS)
    counters.histogram("alexnet_batch_images", "Images computed in one batch.", BATCH_SIZES)
    return counters


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    exact = str(int(value)) if float(value).is_integer() else repr(float(value))
    return f"{name}{{{inside}}} {exact}" if inside else f"{name} {exact}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
