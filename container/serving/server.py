"""gunicorn, started from Python with our settings and our log of requests."""

import contextlib
import datetime
import gc
import os
import signal
from collections.abc import Mapping
from typing import Any

import orjson
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from container.serving.metrics import SCRAPE, Metrics
from container.serving.request_log import ROWS, request_line
from container.serving.settings import ServingSettings

__all__ = ["Server", "shared_memory"]

#: SageMaker kills 30 seconds after SIGTERM; requests under way get most of them.
_DRAIN_SECONDS = 25
#: Longer than the pause between a client's requests, so that it need not connect again.
_KEEPALIVE_SECONDS = 75

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"), (0, "debug"))


def shared_memory() -> str | None:
    """The folder of shared memory; None where it is absent, which means the folder of temporary files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, started from Python: no configuration file and no command line.

    Parameters
    ----------
    app : callable
        WSGI.
    settings : ServingSettings
    metrics : Metrics or None
    """

    def __init__(self, app: Any, settings: ServingSettings, metrics: Metrics | None = None) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its settings."""
        settings = self._settings
        ports = [settings.port] + ([settings.metrics_port] if settings.metrics_port else [])
        options = {
            "bind": [f"0.0.0.0:{port}" for port in ports],
            "workers": settings.workers,
            "worker_class": "gthread",
            "threads": settings.threads,
            "timeout": settings.timeout,
            "graceful_timeout": _DRAIN_SECONDS,
            "keepalive": _KEEPALIVE_SECONDS,
            "loglevel": next(name for level, name in _LEVELS if settings.log_level >= level),
            "logger_class": _logger_class(settings.log_level, self._metrics),
            "pre_fork": lambda server, worker: _quieten_collector(),
            # Until a worker has its own handlers it would lose a SIGTERM to those of its parent, and hold up the end.
            "post_fork": lambda server, worker: signal.signal(signal.SIGTERM, signal.SIG_DFL),
            "child_exit": lambda server, worker: self._forget(worker.pid),
            # Its socket would be one more thing to reach this process by.
            "control_socket_disable": True,
            # Heartbeats are writes to a file, which on a disk can block.
            "worker_tmp_dir": shared_memory(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _forget(self, process_id: int) -> None:
        if self._metrics is not None:
            self._metrics.forget(process_id)

    def load(self) -> Any:
        """Give gunicorn the app, which was made before any worker."""
        return self._app


def _quieten_collector() -> None:
    gc.freeze()  # keeps it off the pages that the workers share
    # A large request makes lists and objects by the 100,000 that all live until it is answered; looking
    # for garbage among them as often as usual takes a fifth of the time of parsing 6 MB, and two thirds
    # of that of 100 MB.
    gc.set_threshold(50_000, 100, 10)


def _logger_class(log_level: int, metrics: Metrics | None) -> type:
    class RequestLogger(Logger):  # type: ignore[misc]
        """One JSON object a request on stdout; gunicorn's own lines stay on stderr."""

        def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: datetime.timedelta) -> None:
            if SCRAPE in environ:
                return
            path, status = environ.get("PATH_INFO", ""), int(str(resp.status).split(maxsplit=1)[0])
            seconds = request_time.total_seconds()
            if metrics is not None:
                metrics.observe(path, status, seconds, environ.get(ROWS, 0))
            # Health checks come every few seconds for as long as the endpoint lives.
            if status < 400 and (path == "/ping" or log_level > 20):
                return
            line = orjson.dumps(request_line(environ, resp, path, status, seconds), option=orjson.OPT_APPEND_NEWLINE)
            # One write of less than a pipe's atomic size, so lines of several workers do not mix.
            with contextlib.suppress(OSError):  # a full or closed log is no reason to fail a request
                os.write(1, line)

    return RequestLogger
