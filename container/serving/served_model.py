"""The schema.json beside a model: found in the model's folder, and nowhere else, and made an encoder.

With one, clients send columns in place of feature ids. Its text is held to a bound before it is
read, and links that lead out of the folder are refused.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fm_core.artifact.model_file import load_model
from fm_core.errors import ArtifactError, ConfigError
from fm_core.formats import SCHEMA_FILE
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import TableSchema

if TYPE_CHECKING:
    from fm_core.model import Model

__all__ = ["MAX_SCHEMA_BYTES", "ServedModel", "open_with_schema"]


#: A schema of some millions of categories.
MAX_SCHEMA_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, and what encodes columns for it.

    Attributes
    ----------
    model : Model
    encoder : Encoder or None
        None: there is no schema, and rows have feature ids.
    """

    model: "Model"
    encoder: Encoder | None = None


def open_with_schema(name: str | None, unseen: str) -> Callable[[Path], ServedModel]:
    """Give what opens a model's folder, and the schema in it.

    Parameters
    ----------
    name : str or None
        Of the schema, below the folder. None: schema.json, which may be absent.
    unseen : {"error", "ignore"}
        What a category is that the schema does not have.

    Returns
    -------
    open_model : callable
        Path to ServedModel; it raises ArtifactError.
    """

    def open_model(path: Path) -> ServedModel:
        model = load_model(path)
        schema = _read(path, name or SCHEMA_FILE, must_exist=name is not None)
        if schema is None:
            return ServedModel(model)
        if schema.feature_dim != model.feature_dim:
            raise ArtifactError(
                f"{path / (name or SCHEMA_FILE)}: its columns make {schema.feature_dim} features, expected "
                f"{model.feature_dim} as the model has: it is the schema of other data"
            )
        way_out = "the setting FM_UNSEEN=ignore"
        return ServedModel(model, Encoder(schema, unseen=unseen, labels="none", way_out=way_out))

    return open_model


def _read(folder: Path, name: str, *, must_exist: bool) -> TableSchema | None:
    path = folder / name
    try:
        if not must_exist and not path.is_symlink() and not path.exists():
            return None
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise ArtifactError(f"{path} leads out of the model's folder, expected a schema below it")
        size = path.stat().st_size
        if size > MAX_SCHEMA_BYTES:
            raise ArtifactError(
                f"{path} has {size} bytes, expected at most {MAX_SCHEMA_BYTES}: hash the largest columns"
            )
        return TableSchema.load(path)
    except ConfigError as error:
        raise ArtifactError(str(error)) from error
    except (OSError, RuntimeError, ValueError) as error:  # absent, no file, a loop of links, a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise ArtifactError(f"{path}: {reason}, expected a schema as `fm convert` writes it") from error
