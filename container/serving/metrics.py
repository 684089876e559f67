"""Prometheus metrics of all workers together, on a port of their own.

Needs the optional package prometheus-client (`pip install factorization-machines[metrics]`).
Each worker adds up in files of a shared folder; whichever worker is asked adds up the files.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fm_core.errors import ConfigError

__all__ = ["SCRAPE", "Metrics"]

#: Key of the WSGI environment that tells a request for the metrics from those that are measured.
SCRAPE = "fm.scrape"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

#: Anything else a client asks for is counted as "other", so that it cannot make series without end.
_PATHS = ("/ping", "/invocations", "/execution-parameters", "/models")


class Metrics:
    """Counters of requests, rows and seconds.

    Made before the workers are forked.

    Parameters
    ----------
    folder : Path
        Where the workers' files go.

    Raises
    ------
    ConfigError
        prometheus-client is not installed.
    """

    def __init__(self, folder: Path) -> None:
        # The package looks for this when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        try:
            import prometheus_client
            from prometheus_client import multiprocess
        except ImportError:
            raise ConfigError(
                "FM_METRICS_PORT is set, but the package prometheus-client is not installed: "
                "install it, or unset the port"
            ) from None
        self._multiprocess = multiprocess
        self._client = prometheus_client
        registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "fm_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self._rows = prometheus_client.Counter("fm_rows", "Rows scored.", registry=registry)
        self._seconds = prometheus_client.Histogram(
            "fm_request_seconds", "Time from a request's headers to its answer.", ["path"],
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip

    def observe(self, path: str, status: int, seconds: float, rows: int) -> None:
        """Count one request."""
        if path.startswith("/models/"):
            path = "/models"
        path = path if path in _PATHS else "other"
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)
        if rows and status < 400:
            self._rows.inc(rows)

    def forget(self, process_id: int) -> None:
        """Say that a worker is gone."""
        self._multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]

    def beside(self, app: Any, port: int | None) -> Any:
        """Wrap a WSGI app: what comes in on `port` gets the metrics, the rest goes to `app`."""

        def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["SERVER_PORT"] != str(port):
                answer: Iterable[bytes] = app(environ, start_response)
                return answer
            environ[SCRAPE] = True
            registry = self._client.CollectorRegistry()
            self._multiprocess.MultiProcessCollector(registry)
            body = self._client.generate_latest(registry)
            headers = [("Content-Type", self._client.CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))]
            start_response("200 OK", headers)
            return [body]

        return wrapped
