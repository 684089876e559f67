"""The one table of formats: which names, media types and abilities each has, and where its functions are.

A format is a row of `FORMATS` and the functions of a module of this folder, which is imported when one of
them is needed. A module has those functions that its rows' roles ask for:

========= ================================================================================
READ      ``open_rows(paths, format, options)``: files of rows, as `inputs.RowInput`; of tables also
          ``read_tables(paths, format, options, update)``: their columns as they are
WRITE     ``make_writer(file, format, first_key)``: an `outputs.Writer` of rows to a file that is
          open for bytes; `first_key`, 0 or 1, is the key of feature 0 where rows have keys
CHANNEL   ``read_batches(sources, *, feature_dim, batch_size, labels, ...)``: what trains a
          model, in batches; the parameters are those of `fm_core.formats.read_batches`
REQUEST   ``decode_request(body, *, feature_dim, encoder, header)``: what is to be scored, part
          by part, as `inputs.RequestRows`; the body is bytes-like, `feature_dim` the model's;
          `encoder` and `header` are of tables
========= ================================================================================
"""

import dataclasses
import enum
import importlib
from pathlib import Path
from typing import Any

from fm_core.errors import ConfigError
from fm_core.formats.recordio import MEDIA_TYPE as RECORDIO_TYPE

__all__ = ["FORMATS", "Format", "Role", "format_of", "formats_for", "media_types_for"]


class Role(enum.Flag):
    """What can be done with a format."""

    READ = enum.auto()
    WRITE = enum.auto()
    CHANNEL = enum.auto()
    REQUEST = enum.auto()


_FILES = Role.READ | Role.WRITE
_EVERYWHERE = _FILES | Role.CHANNEL | Role.REQUEST


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of rows.

    Attributes
    ----------
    name : str
    module : str
        Of this folder, with the format's functions.
    suffixes : tuple of str
        Names that end so (or so and ``.gz``, where the format is a stream) are of it.
    roles : Role
    media_types : tuple of str
        The first is its own; others are further spellings of it. Those of channels and requests have one.
    is_table : bool
        Whether it has columns, which a schema makes features of; else it has feature ids.
    is_stream : bool
        Whether it is read from its beginning to its end, and so may be gzip, or come through a pipe.
    delimiter : str or None
        Between the cells of a line.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    roles: Role = _FILES
    media_types: tuple[str, ...] = ()
    is_table: bool = False
    is_stream: bool = True
    delimiter: str | None = None

    @property
    def media_type(self) -> str:
        """The name by which channels and requests know it."""
        return self.media_types[0]

    @property
    def functions(self) -> Any:
        """The module with what its roles ask for."""
        return importlib.import_module(f"{__name__}.{self.module}")


FORMATS = {
    described.name: described
    for described in (
        Format(
            "recordio", "recordio", (".recordio", ".rec", ".pbr", ".protobuf", ".pb"), _EVERYWHERE,
            (RECORDIO_TYPE, "x-recordio-protobuf"),  # Amazon's documentation writes the type this way too
        ),
        Format("libsvm", "libsvm", (".libsvm", ".svm", ".svmlight"), _EVERYWHERE, ("text/libsvm",)),
        Format("libfm", "libsvm", (".libfm",)),
        Format("csv", "delimited", (".csv",), _EVERYWHERE, ("text/csv",), is_table=True, delimiter=","),
        Format("tsv", "delimited", (".tsv", ".tab"), is_table=True, delimiter="\t"),
        Format(
            "parquet", "columnar", (".parquet", ".pq"), Role.READ | Role.CHANNEL, ("application/x-parquet",),
            is_table=True, is_stream=False,
        ),
        Format("arrow", "columnar", (".arrow", ".feather", ".arrows"), Role.READ, is_table=True, is_stream=False),
        Format("npz", "npz", (".npz",), is_stream=False),
    )
}  # fmt: skip


def formats_for(role: Role) -> list[str]:
    """Return the names of the formats that support a role.

    Parameters
    ----------
    role : Role

    Returns
    -------
    names : list of str
    """
    return [described.name for described in FORMATS.values() if role in described.roles]


def media_types_for(role: Role) -> dict[str, Format]:
    """Return the formats that support a role.

    Parameters
    ----------
    role : Role

    Returns
    -------
    formats : dict of str to Format
        By media type.
    """
    return {described.media_type: described for described in FORMATS.values() if role in described.roles}


_UNPACK = "unpack it, or pipe what it holds into the command ({} FILE | fm ... - --from csv)"
_SAVE = "save it as CSV or Parquet"

#: What people have besides, and how they come to what is read.
_NOT_READ = {
    ".zst": ("zstd", _UNPACK.format("zstd -dc")), ".bz2": ("bzip2", _UNPACK.format("bzip2 -dc")),
    ".xz": ("xz", _UNPACK.format("xz -dc")), ".lz4": ("lz4", _UNPACK.format("lz4 -dc")),
    ".zip": ("a zip archive", _UNPACK.format("unzip -p")), ".tar": ("a tar archive", _UNPACK.format("tar -xOf")),
    ".tar.gz": ("a tar archive", _UNPACK.format("tar -xOf")), ".tgz": ("a tar archive", _UNPACK.format("tar -xOf")),
    ".xlsx": ("a spreadsheet", _SAVE), ".xls": ("a spreadsheet", _SAVE), ".ods": ("a spreadsheet", _SAVE),
    ".json": ("JSON", _SAVE), ".jsonl": ("JSON", _SAVE), ".ndjson": ("JSON", _SAVE), ".orc": ("ORC", _SAVE),
    ".avro": ("Avro", _SAVE), ".pkl": ("a pickle", _SAVE), ".pickle": ("a pickle", _SAVE), ".h5": ("HDF5", _SAVE),
    ".sqlite": ("a database", _SAVE), ".db": ("a database", _SAVE), ".duckdb": ("a database", _SAVE),
    ".npy": ("one array of NumPy's", "save rows and labels as an npz file (numpy.savez(FILE, X=..., y=...))"),
}  # fmt: skip


def format_of(path: Path, name: str | None = None) -> Format:
    """Return the format of a file.

    Parameters
    ----------
    name : str, optional
        The name of the format. By default the name of the file determines it.

    Returns
    -------
    format : Format

    Raises
    ------
    ConfigError
        The file's name ends like none, and where that of another kind of file is known, what to do.
    """
    if name is not None:
        return FORMATS[name]
    file_name = path.name.lower()
    for described in FORMATS.values():
        if file_name.removesuffix(".gz" if described.is_stream else "").endswith(described.suffixes):
            return described
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected a file: name the files in it")
    for suffix, (what, instead) in _NOT_READ.items():
        if file_name.endswith(suffix):
            raise ConfigError(f"{path}: the name is that of {what}, which is not supported: {instead}")
    known = ", ".join(suffix for described in FORMATS.values() for suffix in described.suffixes)
    way_out = "name the format (fm: --from csv)"
    raise ConfigError(f"{path}: the name does not tell the format, expected one of {known}; or {way_out}")
