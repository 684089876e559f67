"""`serve`: settings, then the model, then the app, then gunicorn.

The model is memory-mapped here, before gunicorn forks its workers, so that they share its
pages. No kernel runs in this process: an OpenMP team started before a fork would hang the
children (dmlc/xgboost issue 8040 and lightgbm-org/LightGBM issue 4751 are of that kind).
"""

import argparse
import contextlib
import functools
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from container.harmless_log import HarmlessFormatter
from container.serving.app import create_app, takes_long
from container.serving.drift import Drift
from container.serving.metrics import Metrics
from container.serving.model_registry import ModelRegistry
from container.serving.served_model import ServedModel, further_sources, open_with_schema
from container.serving.server import Server, shared_memory
from container.serving.settings import ServingSettings
from container.version import program_name
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import identity
from fm_core.errors import ConfigError, FMError
from fm_core.kernels import in_use
from fm_core.printable import printable
from fm_core.resources import usable_cores, usable_memory

__all__ = ["main"]

_DESCRIPTION = "Answer requests with the model in the model folder. Settings are environment variables."


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Serve until SIGTERM.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process. There are none but ``--help``: every setting is an
        environment variable.
    environ : mapping of str to str, optional
        By default the process's.

    Returns
    -------
    status : int
        The exit code.
    """
    parser = argparse.ArgumentParser("serve", description=_DESCRIPTION)
    parser.parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(HarmlessFormatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"))
    logging.basicConfig(handlers=[handler])
    try:
        settings = ServingSettings.from_environment(environ or os.environ, cores=usable_cores(), memory=usable_memory())
        logging.getLogger("container").setLevel(max(1, min(settings.log_level, logging.WARNING)))
        in_use()  # FM_CORE_KERNELS may name a build that is not there
        with _temporary_folder() as scratch:
            metrics = Metrics(scratch)
            models, model = _models(settings, scratch), None
            if isinstance(models, ServedModel):
                # Of each worker there are two processes.
                metrics.watch(Drift(models, 2 * settings.workers, settings.drift_window))
                model = identity(settings.root / "model")
                metrics.name_model(model)
            app = create_app(models, settings, metrics.observe_scores)
            if settings.log_level <= logging.INFO:
                named = program_name() if model is None else f"{program_name()}, model {model}"
                print(f"serve: {named}", file=sys.stderr, flush=True)
            Server(metrics.beside(app, settings.metrics_port), settings, metrics, takes_long).run()
    except FMError as error:
        print(printable(f"serve: {error}", 4096), file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    # Forked workers leave this block by SystemExit too, and must not take the folder with them.
    owner = os.getpid()
    try:
        folder = Path(tempfile.mkdtemp(prefix="fm-serve-", dir=shared_memory()))
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files is writable ({error.strerror or error}): "
            "make /tmp writable, or set TMPDIR to a folder that is"
        ) from error
    try:
        yield folder
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _models(settings: ServingSettings, scratch: Path) -> ServedModel | ModelRegistry[ServedModel]:
    # The memory of one model alone is what the system has.
    memory = settings.model_memory if settings.multi_model else None
    limits = functools.partial(Limits, memory=memory, seconds=settings.model_load_seconds)
    if settings.multi_model:
        open_model = open_with_schema(settings.schema, settings.unseen, limits)
        return ModelRegistry(settings.root / "models", settings.model_memory, scratch, open_model)
    sources = further_sources(settings.root)
    return open_with_schema(settings.schema, settings.unseen, limits, sources)(settings.root / "model")


if __name__ == "__main__":
    sys.exit(main())
