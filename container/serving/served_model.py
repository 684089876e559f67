"""The files next to a model: schema.json, catalogue.csv, spread.npz and baseline.json, in its folder or another one.

With a schema, clients can send columns instead of feature ids. With a catalogue, they can request its best items. With
a spread, they can request the uncertainty of a score. A baseline is compared with the requests. The size of each file
is checked before it is read, and links that point outside the folder are refused. An invalid baseline is logged, and
the model is served without it. Further sources are the folders of SageMaker's AdditionalModelDataSources: a catalogue
that is renewed every night needs no new model.
"""

import dataclasses
import logging
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fm_core.analysis.baseline import BASELINE_FILE, Baseline
from fm_core.analysis.baseline import MAX_BYTES as MAX_BASELINE_BYTES
from fm_core.analysis.catalogue import CATALOGUE_FILE, Catalogue
from fm_core.analysis.recommendation import Recommender
from fm_core.artifact.archive import model_folder
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import load_model
from fm_core.artifact.spread_file import MOST_BYTES as MAX_SPREAD_BYTES
from fm_core.artifact.spread_file import SPREAD_FILE, load_spread
from fm_core.errors import ArtifactError, ConfigError, DataError, ResourceError, is_exhausted
from fm_core.formats import SCHEMA_FILE
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import TableSchema
from fm_core.printable import printable

if TYPE_CHECKING:
    from fm_core.model import Model

__all__ = ["MAX_CATALOGUE_BYTES", "MAX_SCHEMA_BYTES", "ServedModel", "further_sources", "open_with_schema"]


_LOGGER = logging.getLogger(__name__)

#: A schema of some millions of categories.
MAX_SCHEMA_BYTES = 256 * 2**20

#: A catalogue of some millions of items.
MAX_CATALOGUE_BYTES = 2**30


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, and the encoder of columns for it.

    Attributes
    ----------
    model : Model
    encoder : Encoder or None
        None: there is no schema, and rows have feature ids.
    recommender : Recommender or None
        None: there is no catalogue.
    baseline : Baseline or None
    memory : int
        Bytes that the model takes in addition to its memory-mapped file: what was decompressed.
    """

    model: "Model"
    encoder: Encoder | None = None
    recommender: Recommender | None = None
    baseline: Baseline | None = None
    memory: int = 0


def open_with_schema(
    name: str | None, unseen: str, limits: Callable[[], Limits] = Limits, sources: Sequence[Path] = ()
) -> Callable[[Path], ServedModel]:
    """Give what opens a model's folder, and the schema in it.

    Parameters
    ----------
    name : str or None
        Of the schema, below the folder. None: schema.json, which may be absent.
    unseen : {"error", "ignore"}
        How to treat a category that is not in the schema.
    limits : callable
        Gives the limits of reading one model.
    sources : sequence of Path
        Folders in which schema, catalogue and baseline are looked for before the model's own.

    Returns
    -------
    open_model : callable
        Path to ServedModel; it raises ArtifactError, and ResourceError. The folder may be the one in another.
    """

    def open_model(path: Path) -> ServedModel:
        allowed = limits()
        model = load_model(path, allowed)
        path = model_folder(path)
        folders = [*sources, path]
        try:
            encoder = _encoder(folders, name, unseen, model.feature_dim, allowed)
            if _below(path, SPREAD_FILE, MAX_SPREAD_BYTES, "spread") is not None:
                model.spread = load_spread(path, model.predictor_type, model.w0, model.w, allowed)
            catalogue_file = _found(folders, CATALOGUE_FILE, MAX_CATALOGUE_BYTES, "catalogue")
            if catalogue_file is None:
                return ServedModel(model, encoder, None, _baseline(folders, model, encoder), allowed.taken)
            catalogue = Catalogue.load(
                catalogue_file, encoder, model.feature_dim, watch=_watching(allowed, catalogue_file)
            )
            recommender = Recommender(model, catalogue, encoder)
            return ServedModel(model, encoder, recommender, _baseline(folders, model, encoder), allowed.taken)
        except (ConfigError, DataError) as error:
            raise ArtifactError(str(error)) from error
        except OSError as error:
            kind = ResourceError if is_exhausted(error) else ArtifactError
            raise kind(f"{error.filename or path}: {error.strerror or error}") from error

    return open_model


def _encoder(
    folders: Sequence[Path], name: str | None, unseen: str, feature_dim: int, limits: Limits
) -> Encoder | None:
    """Give the encoder of the schema, if there is one: the one that FM_SCHEMA names has to be."""
    try:
        file = _found(folders, name or SCHEMA_FILE, MAX_SCHEMA_BYTES, "schema", must_exist=name is not None)
        if file is None:
            return None
        schema = TableSchema.load(file, feature_dim, watch=_watching(limits, file))
    except (ArtifactError, ConfigError) as error:
        if name is None:
            raise
        raise ArtifactError(f"environment variable FM_SCHEMA is {name[:80]!r}: {error}") from error
    return Encoder(schema, unseen=unseen, labels="none", way_out="the setting FM_UNSEEN=ignore")


def _watching(limits: Limits, file: Path) -> Callable[[int], None]:
    """Apply the limits of the model to reading a file next to it."""

    def watch(n_bytes: int) -> None:
        limits.check()
        limits.allow(n_bytes, file.name)

    return watch


def _baseline(folders: Sequence[Path], model: "Model", encoder: Encoder | None) -> Baseline | None:
    columns = None if encoder is None else {column.name for column in encoder.schema.columns}
    try:
        file = _found(folders, BASELINE_FILE, MAX_BASELINE_BYTES, "baseline")
        return None if file is None else Baseline.load(file, model.feature_dim, columns)
    except (ArtifactError, ConfigError, OSError) as error:
        _LOGGER.warning("Scores are not compared with those of training: %s", printable(str(error), 1000))
        return None


def further_sources(root: Path) -> list[Path]:
    """Give the folders of a model's additional data sources.

    Parameters
    ----------
    root : Path
        Of the tree that SageMaker mounts.
    """
    folder = root / "additional-model-data-sources"
    return sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []


def _found(folders: Sequence[Path], name: str, most_bytes: int, what: str, *, must_exist: bool = False) -> Path | None:
    """Give the path of a file in a further source, or else in the model's folder, the last one, if it is there."""
    *sources, own = folders
    found = [path for folder in sources if (path := _below(folder, name, most_bytes, what)) is not None]
    if len(found) > 1:
        raise ArtifactError(f"{found[0]} and {found[1]} both exist, expected one {what} in the additional sources")
    if not found:
        return _below(own, name, most_bytes, what, must_exist=must_exist)
    _LOGGER.info("%s is the model's %s", printable(str(found[0]), 300), what)
    return found[0]


def _below(folder: Path, name: str, most_bytes: int, what: str, *, must_exist: bool = False) -> Path | None:
    """Give the path of a file in a model's folder, if it is there."""
    path = folder / name
    try:
        if not must_exist and not path.is_symlink() and not path.exists():
            return None
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise ArtifactError(f"{path} points outside the model's folder, expected a {what} below it")
        facts = path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # absent, no file, a loop of links, a null byte
        reason = getattr(error, "strerror", None) or str(error)
        if is_exhausted(error):
            raise ResourceError(f"{path}: {reason}") from error
        raise ArtifactError(f"{path}: {reason}, expected a {what}") from error
    # Before it is opened: opening what is no file could wait for its other end.
    if not stat.S_ISREG(facts.st_mode):
        raise ArtifactError(f"{path} is not a file, expected a {what}")
    if facts.st_size > most_bytes:
        raise ArtifactError(f"{path} has {facts.st_size} bytes, expected at most {most_bytes}")
    return path
