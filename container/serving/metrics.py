"""Prometheus metrics of all processes together, at /metrics.

prometheus-client's multiprocess mode: each process counts in files of a shared folder, and the process that answers
a scrape adds up the files. Current values (running requests, memory) are read at that moment.
"""

import bisect
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from container.serving.drift import Drift
from container.version import revision
from fm_core import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SCRAPE", "Metrics"]

#: Key of the WSGI environment that tells a request for the metrics from those that are measured.
SCRAPE = "fm.scrape"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


#: So many scores are looked up one by one: less than NumPy takes to begin.
_FEW_SCORES = 8


def _intervals(*bounds: float) -> tuple[list[float], list[str]]:
    """Bounds to look scores up in, and the labels of what they bound."""
    return list(bounds), ["-Inf", *map(str, bounds), "+Inf"]


#: Between these the scores are counted: probabilities, and what regressors give.
_PROBABILITIES = _intervals(*(round(0.05 * i, 2) for i in range(1, 20)))
_VALUES = _intervals(-100, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 10, 100)

#: Anything else a client asks for is counted as "other", so that it cannot make series without end.
_PATHS = ("/", "/openapi.json", "/ping", "/invocations", "/execution-parameters", "/models")


class Metrics:
    """Metrics of requests, scores and models.

    Made before the processes are forked.

    Parameters
    ----------
    folder : Path
        Where the processes' files go.
    """

    def __init__(self, folder: Path) -> None:
        # The package looks for this when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        import prometheus_client
        from prometheus_client import core, multiprocess

        self._multiprocess = multiprocess
        self._client = prometheus_client
        self._core = core
        self._drift: Drift | None = None
        self._labelled: dict[tuple[Any, tuple[Any, ...]], Any] = {}
        self._model: str | None = None
        self._now: list[tuple[str, str, Callable[[], float]]] = []
        counter = functools.partial(prometheus_client.Counter, registry=prometheus_client.CollectorRegistry())
        self._requests = counter("fm_requests", "Requests answered.", ["path", "status"])
        self._rows = counter("fm_rows", "Rows scored.")
        self._bytes_in = counter("fm_request_bytes", "Bytes of bodies of requests.")
        self._bytes_out = counter("fm_answer_bytes", "Bytes of bodies of answers.")
        self._loads = counter("fm_model_loads", "Models loaded by POST /models.")
        self._scores = counter("fm_scores", "Scores returned, by interval.", ["above", "up_to"])
        self._seconds = prometheus_client.Histogram(
            "fm_request_seconds", "Time from a request's first byte to its answer.", ["path"],
            buckets=_BUCKETS, registry=prometheus_client.CollectorRegistry(),
        )  # fmt: skip

    def observe(
        self, method: str, path: str, status: int, seconds: float, rows: int, bytes_in: int, bytes_out: int
    ) -> None:
        """Count one request."""
        if (method, path, status) == ("POST", "/models", 200):
            self._loads.inc()
        if path.startswith("/models/"):
            path = "/models"
        path = path if path in _PATHS else "other"
        self._of(self._requests, path, status).inc()
        self._of(self._seconds, path).observe(seconds)
        self._bytes_in.inc(bytes_in)
        self._bytes_out.inc(bytes_out)
        if rows and status < 400:
            self._rows.inc(rows)

    def name_model(self, identity: str) -> None:
        """Name the one model that is served."""
        self._model = identity

    def watch(self, drift: Drift) -> None:
        """Compare requests and answers with the training data."""
        self._drift = drift

    def place(self, slot: int) -> None:
        """Set the slot of the process that is forked next."""
        if self._drift is not None:
            self._drift.place(slot)

    def observe_scores(self, scores: "NDArray[np.float32]", is_classifier: bool, are_of_rows: bool) -> None:
        """Count scores: those of rows, or of what was ranked."""
        if self._drift is not None and are_of_rows:
            self._drift.observe_scores(scores)
        bounds, names = _PROBABILITIES if is_classifier else _VALUES
        if scores.size <= _FEW_SCORES:
            for score in scores.tolist():
                i = bisect.bisect_left(bounds, score)
                self._of(self._scores, names[i], names[i + 1]).inc()
            return
        counts = np.bincount(np.searchsorted(bounds, scores), minlength=len(bounds) + 1)
        for i in np.flatnonzero(counts).tolist():
            self._of(self._scores, names[i], names[i + 1]).inc(int(counts[i]))

    def _of(self, metric: Any, *labels: Any) -> Any:
        # prometheus-client builds and looks up texts of the labels under a lock, at each call
        found = self._labelled.get((metric, labels))
        if found is None:
            found = self._labelled[metric, labels] = metric.labels(*labels)
        return found

    def look_up(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Register a function that is called whenever the metrics are requested."""
        self._now.append((name, description, value))

    def forget(self, process_id: int) -> None:
        """Forget a worker that has ended."""
        self._multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]

    def text(self) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and its media type."""
        registry = self._client.CollectorRegistry()
        self._multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(self)
        return self._client.generate_latest(registry), self._client.CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Any]:
        """Give what is looked up; prometheus-client asks."""
        gauge = self._core.GaugeMetricFamily
        info = gauge("fm_build_info", "1, labelled with the version and revision.", labels=["version", "revision"])
        info.add_metric([__version__, revision()], 1)
        yield info
        if self._model is not None:
            served = gauge("fm_model_info", "1, labelled with the model's identity.", labels=["model"])
            served.add_metric([self._model], 1)
            yield served
        for name, description, value in self._now:
            yield gauge(name, description, value=value())
        if self._drift is not None:
            yield from self._drift.families(self._core)
        memory = gauge("fm_process_memory_bytes", "Resident memory of each process.", labels=["pid"])
        for process_id, size in _memory_of_siblings():
            memory.add_metric([process_id], size)
        yield memory

    def beside(self, app: Any, port: int | None) -> Any:
        """Wrap a WSGI app: /metrics, and all that comes in on `port`, gets the metrics; the rest goes to `app`."""

        def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            here = environ["PATH_INFO"] == "/metrics" and environ["REQUEST_METHOD"] == "GET"
            if not here and (port is None or environ["SERVER_PORT"] != str(port)):
                answer: Iterable[bytes] = app(environ, start_response)
                return answer
            environ[SCRAPE] = True
            body, content_type = self.text()
            start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
            return [body]

        return wrapped


def _memory_of_siblings() -> Iterator[tuple[str, int]]:
    parent = os.getppid()
    try:
        siblings = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return
    for process_id in [str(parent), *siblings]:
        try:
            pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
        except OSError:  # it ended meanwhile
            continue
        yield process_id, pages * os.sysconf("SC_PAGE_SIZE")
