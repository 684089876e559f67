"""Start gunicorn from Python, with this project's settings and workers."""

import functools
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from container.harmless_log import HarmlessFormatter
from container.serving.handover import Handover
from container.serving.load import Load
from container.serving.metrics import SCRAPE, Metrics
from container.serving.request_log import BYTES_IN, BYTES_OUT, ROWS, STATUS, is_logged, log_request
from container.serving.settings import ServingSettings
from container.serving.worker import DRAIN_SECONDS, Work, Worker
from container.serving.wsgi import App
from fm_core.errors import ConfigError

__all__ = ["GunicornLogger", "Server", "shared_memory"]

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"), (0, "debug"))

#: Open files that a worker needs besides connections: models, standard streams, sockets of our own.
_RESERVED_FILES = 48


def shared_memory() -> str | None:
    """The folder of shared memory; None where it is absent, which means the folder of temporary files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's own lines, harmless."""

    def setup(self, cfg: Any) -> None:
        """Make the handlers."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(HarmlessFormatter(self.error_fmt, self.datefmt))


def _never(environ: dict[str, Any], body: bytes) -> bool:
    return False


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn: no configuration file and no command line.

    Parameters
    ----------
    app : callable
        WSGI.
    settings : ServingSettings
    metrics : Metrics or None
    takes_long : callable, optional
        Of the environment and the body of a request with a small body: whether it takes more than some
        milliseconds. By default none does.
    """

    def __init__(
        self,
        app: App,
        settings: ServingSettings,
        metrics: Metrics | None = None,
        takes_long: Callable[[dict[str, Any], bytes], bool] = _never,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        workers = settings.workers
        most_connections = _raise_open_files() - _RESERVED_FILES
        most_requests = workers * settings.queue
        # Each request that is handed over takes a descriptor where its answer comes in, and for some time others.
        self._work = Work(
            app=app,
            takes_long=takes_long,
            log=functools.partial(_log, metrics, settings.log_level),
            handover=Handover(),
            load=Load(workers, most_requests, settings.body_memory),
            n_pairs=workers,
            patience=settings.client_timeout,
            largest_body=settings.max_content_length,
            most_connections=max(16, min(most_connections // 3, 4096)),
        )
        Worker.work = self._work
        if metrics is not None:
            load = self._work.load
            metrics.look_up("fm_requests_under_way", "Requests that wait or run.", lambda: load.requests)
            metrics.look_up("fm_queue_size", "Limit on requests that wait or run.", lambda: load.most_requests)
            metrics.look_up("fm_body_bytes", "Bytes of bodies in memory.", lambda: load.bytes)
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its settings."""
        settings = self._settings
        options = {
            "bind": [f"0.0.0.0:{port}" for port in settings.ports],
            "workers": 2 * self._work.n_pairs,
            "worker_class": f"{Worker.__module__}.{Worker.__qualname__}",  # gunicorn 22 to 25.0 take its name alone
            "timeout": settings.timeout,
            "graceful_timeout": DRAIN_SECONDS,
            "loglevel": next(name for level, name in _LEVELS if settings.log_level >= level),
            "pre_fork": self._place,
            # Until a worker has its own handlers it would lose a SIGTERM to those of its parent, and hold up the end.
            "post_fork": lambda server, worker: signal.signal(signal.SIGTERM, signal.SIG_DFL),
            "child_exit": self._forget,
            "logger_class": GunicornLogger,
            # Its socket would be one more thing to reach this process by.
            "control_socket_disable": True,
            # Heartbeats are writes to a file, which on a disk can block.
            "worker_tmp_dir": shared_memory(),
        }
        for name, value in options.items():
            if name in self.cfg.settings:  # older versions have no control socket
                self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until a signal ends it.

        Raises
        ------
        ConfigError
            A port cannot be listened on.
        """
        # gunicorn would log eleven lines in five seconds, none of which says what to do.
        for port, name in self._settings.ports.items():
            _check_port(port, name)
        super().run()

    def _place(self, server: Any, worker: Worker) -> None:
        self._work.place(worker, server.WORKERS.values())
        if self._metrics is not None:
            self._metrics.place(2 * worker.slot + worker.is_front)
        _quieten_collector()

    def _forget(self, server: Any, worker: Worker) -> None:
        if worker.is_front:
            self._work.load.clear(worker.slot)
        if self._metrics is not None:
            self._metrics.forget(worker.pid)

    def load(self) -> Any:
        """Give gunicorn the app, which was made before any worker."""
        return self._work.app


def _log(metrics: Metrics | None, log_level: int, environ: Mapping[str, Any], seconds: float) -> None:
    if SCRAPE in environ:
        return
    if metrics is not None:
        metrics.observe(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ[STATUS], seconds, environ.get(ROWS, 0),
            environ[BYTES_IN], environ[BYTES_OUT],
        )  # fmt: skip
    if is_logged(environ, log_level):
        log_request(environ, seconds)


def _check_port(port: int, setting: str) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
    except OSError as error:
        raise ConfigError(f"port {port} ({setting}): {error.strerror}, expected a port that is free") from error


def _raise_open_files() -> int:
    """Let this process, and those forked from it, open as many files as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _quieten_collector() -> None:
    gc.freeze()  # keeps it off the pages that the workers share
    # A large request makes lists and objects by the 100,000 that all live until it is answered; looking
    # for garbage among them as often as usual takes a fifth of the time of parsing 6 MB, and two thirds
    # of that of 100 MB.
    gc.set_threshold(50_000, 100, 10)
