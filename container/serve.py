"""`serve`: settings, then the model, then the app, then gunicorn.

The model is memory-mapped here, before gunicorn forks its workers, so that they share its
pages. No kernel runs in this process: an OpenMP team started before a fork would hang the
children (dmlc/xgboost issue 8040 and lightgbm-org/LightGBM issue 4751 are of that kind).
"""

import argparse
import contextlib
import datetime
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from container.environment import ServingSettings
from container.resources import usable_cores, usable_memory
from container.serving.app import ERROR, ROWS, create_app
from container.serving.metrics import SCRAPE, Metrics
from container.serving.model_registry import ModelRegistry
from container.serving.served_model import ServedModel, open_with_schema
from fm_core.errors import FMError

__all__ = ["Server", "main"]

#: SageMaker kills 30 seconds after SIGTERM; requests under way get most of them.
_DRAIN_SECONDS = 25
#: Longer than the pause between a client's requests, so that it need not connect again.
_KEEPALIVE_SECONDS = 75

_DESCRIPTION = "Answer requests with the model in the tree's model folder. Settings are environment variables."

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"), (0, "debug"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process. There are none but ``--help``: every setting is an
        environment variable.

    Returns
    -------
    status : int
        The exit code.
    """
    parser = argparse.ArgumentParser("serve", description=_DESCRIPTION)
    parser.parse_args(arguments)
    try:
        settings = ServingSettings.from_environment(os.environ, cores=usable_cores(), memory=usable_memory())
        with _temporary_folder() as scratch:
            metrics = None if settings.metrics_port is None else Metrics(scratch)
            app = create_app(_models(settings, scratch), settings)
            Server(app if metrics is None else metrics.beside(app, settings.metrics_port), settings, metrics).run()
    except FMError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    # Forked workers leave this block by SystemExit too, and must not take the folder with them.
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="fm-serve-", dir=_shared_memory()))
    try:
        yield folder
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _shared_memory() -> str | None:
    # Where it is absent, the system's folder for temporary files.
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
            "worker_tmp_dir": _shared_memory(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _forget(self, process_id: int) -> None:
        if self._metrics is not None:
            self._metrics.forget(process_id)

    def load(self) -> Any:
        """Give gunicorn the app, which was made before any worker."""
        return self._app


def _models(settings: ServingSettings, scratch: Path) -> ServedModel | ModelRegistry[ServedModel]:
    open_model = open_with_schema(settings.schema, settings.unseen)
    if settings.multi_model:
        return ModelRegistry(settings.root / "models", settings.model_memory, scratch, open_model)
    return open_model(settings.root / "model")


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
            line = orjson.dumps(_request_line(environ, resp, path, status, seconds), option=orjson.OPT_APPEND_NEWLINE)
            # One write of less than a pipe's atomic size, so lines of several workers do not mix.
            with contextlib.suppress(OSError):  # a full or closed log is no reason to fail a request
                os.write(1, line)

    return RequestLogger


def _request_line(
    environ: Mapping[str, Any], resp: Any, path: str, status: int, seconds: float
) -> dict[str, int | float | str]:
    line: dict[str, int | float | str] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "method": environ.get("REQUEST_METHOD", "")[:16],
        "path": path[:200],
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
        "bytes_in": int(environ.get("CONTENT_LENGTH") or 0),
        "bytes_out": resp.sent,
    }
    for name, key in (
        ("rows", ROWS),
        ("content_type", "CONTENT_TYPE"),
        ("accept", "HTTP_ACCEPT"),
        ("inference_id", "HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID"),
        ("target_model", "HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL"),
        ("error", ERROR),
    ):
        value = environ.get(key)
        if value is not None:
            line[name] = value if isinstance(value, int) else str(value)[:400].encode(errors="replace").decode()
    return line


if __name__ == "__main__":
    sys.exit(main())
