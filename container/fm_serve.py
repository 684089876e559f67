"""Serve a model: the endpoint of SageMaker's contract, on this machine.

MODEL is a folder with model_algo-1 and schema.json, such as `fm train` leaves, or a model.tar.gz of it. Requests go to
http://localhost:PORT/invocations; settings are the environment variables of docs/reference/contract.md. Ctrl-C ends it.

  fm serve model
  curl localhost:8080/invocations -H 'Content-Type: text/csv; header=present' --data-binary @new.csv
"""

import argparse
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from fm_core.artifact.model_file import MODEL_FILE, load_model
from fm_core.errors import ConfigError
from fm_core.tabular.saved import schema_beside

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm serve``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model's folder, model_algo-1, or model.tar.gz")
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="port of the endpoint (default: 8080)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it, and give the exit status."""
    from container.environment import of_tree
    from container.serve import main

    if not 0 < arguments.port < 65_536:
        raise ConfigError(f"--port is {arguments.port}, expected 1 to 65535")
    owner = os.getpid()
    root = Path(tempfile.mkdtemp(prefix="fm-serve-"))
    try:
        _lay_out(arguments.model, root / "model")
        return main([], of_tree(os.environ, root, arguments.port))
    finally:
        if os.getpid() == owner:  # forked workers leave this block too
            shutil.rmtree(root, ignore_errors=True)


def _lay_out(model: Path, place: Path) -> None:
    """Put a model where the endpoint looks for it: linked, or unpacked.

    Raises
    ------
    ArtifactError
        It is not a model.
    ConfigError
        Its schema belongs to other data.
    """
    loaded = load_model(model)  # what is wrong is said before anything is served
    schema_beside(model, loaded.feature_dim)
    del loaded
    if model.is_dir() and not (model / "model.tar.gz").is_file():
        place.symlink_to(model.resolve())
    elif model.is_file() and model.name == MODEL_FILE:
        place.symlink_to(model.resolve().parent)
    else:
        place.mkdir()
        path = model / "model.tar.gz" if model.is_dir() else model
        try:
            with tarfile.open(path) as packed:
                packed.extractall(place, filter="data")
        except tarfile.ReadError:  # a model by another name
            (place / MODEL_FILE).symlink_to(path.resolve())
