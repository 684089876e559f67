"""A model with the files next to it: spread, schema, metrics, report; written whole or not at all, and read again."""

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fm_core.analysis.baseline import BASELINE_FILE, Baseline
from fm_core.artifact.archive import content_beside
from fm_core.artifact.model_file import MODEL_FILE, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.atomic_file import atomic_write, check_replaceable, check_writable, temporary_path
from fm_core.errors import ArtifactError, ConfigError, ResourceError
from fm_core.formats import SCHEMA_FILE
from fm_core.formats.tables.schema import TableSchema
from fm_core.formats.tables.schema_check import most_bytes
from fm_core.model import Model
from fm_core.small_json import object_of

__all__ = ["METRICS_FILE", "REPORT_FILE", "check_free", "metrics_beside", "schema_beside", "write_model"]

METRICS_FILE, REPORT_FILE = "metrics.json", "report.html"
_TAR = (".tar.gz", ".tgz")
_MOST_METRICS = 1 << 24


def check_free(path: Path, *, overwrite: bool) -> None:
    """Check before training that a model can be written to a path.

    Parameters
    ----------
    overwrite : bool
        Whether an existing model may be replaced.

    Raises
    ------
    ConfigError, OSError
    """
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise ConfigError(f"{path} exists already: give another --out, or --overwrite")
    if not path.is_dir() or _is_tar(path):
        check_replaceable(path)
    if path.is_dir() and not (path / MODEL_FILE).is_file() and any(path.iterdir()):
        raise ConfigError(f"{path} is a folder that holds no model, and will not be replaced: give another --out")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}: create it first")
    check_writable(temporary_path(path.absolute(), ".try.tmp"))


def write_model(
    path: Path,
    model: Model,
    hyperparameters: Mapping[str, str],
    schema: TableSchema | None,
    metrics: Mapping[str, Any],
    write_report: Callable[[Path], None] | None = None,
    baseline: Baseline | None = None,
) -> list[str]:
    """Write a model's folder, or the ``.tar.gz`` of it, as SageMaker has both.

    Parameters
    ----------
    path : Path
        A folder, unless it ends with ``.tar.gz`` or ``.tgz``. A model that is there is replaced.
    model : Model
    hyperparameters : mapping of str to str
    schema : TableSchema or None
    metrics : mapping
        What metrics.json holds.
    write_report : callable, optional
        Writes the report to a path.
    baseline : Baseline, optional

    Returns
    -------
    names : list of str
        Of the files.
    """
    folder = temporary_path(path.absolute(), ".folder.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        save_model(folder / MODEL_FILE, model, hyperparameters)
        save_spread(folder, model)
        if schema is not None:
            schema.save(folder / SCHEMA_FILE)
        with atomic_write(folder / METRICS_FILE) as file:
            file.write(json.dumps(metrics, indent=1, allow_nan=False).encode() + b"\n")
        if baseline is not None:
            baseline.save(folder / BASELINE_FILE)
        if write_report is not None:
            write_report(folder / REPORT_FILE)
        names = sorted(entry.name for entry in folder.iterdir())
        if _is_tar(path):
            _pack(folder, names, path)
        else:
            _put(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return names


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(_TAR)


def _put(folder: Path, path: Path) -> None:
    if not (path.exists() or path.is_symlink()):
        folder.rename(path)
        return
    before = temporary_path(path.absolute(), ".before.tmp")
    _remove(before)
    path.rename(before)
    try:
        folder.rename(path)
    except BaseException:
        before.rename(path)
        raise
    _remove(before)


def _remove(path: Path) -> None:
    """Remove a folder, or a link or a file, which `rmtree` would leave."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _pack(folder: Path, names: list[str], path: Path) -> None:
    with (
        atomic_write(path) as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = (folder / name).stat().st_size, 0o644
            with (folder / name).open("rb") as content:
                tar.addfile(entry, content)


def schema_beside(path: str | os.PathLike[str], feature_dim: int) -> TableSchema | None:
    """Read the schema next to a model, in its folder or its ``.tar.gz``.

    Parameters
    ----------
    feature_dim : int
        The model's number of features.

    Returns
    -------
    schema : TableSchema or None
        None if there is no schema.

    Raises
    ------
    ConfigError
        It is no schema, or one of other data than the model's.
    """
    with content_beside(path, SCHEMA_FILE, most_bytes(feature_dim)) as content:
        if content is None:
            return None
        return TableSchema.read(io.BytesIO(content), f"{path}: {SCHEMA_FILE}", feature_dim)


def metrics_beside(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the metrics.json next to a model.

    Returns
    -------
    metrics : dict
        Empty if there is no readable metrics.json.
    """
    try:
        with content_beside(path, METRICS_FILE, _MOST_METRICS) as content:
            return {} if content is None else object_of(bytes(content))
    except (ArtifactError, ResourceError, ValueError):
        return {}
