"""Every path under /opt/ml, and its JSON files, parsed once into a frozen TrainingJob.

SageMaker's local modes write only some of the documented keys, so each key has a
default; a key that is present must have a value that the contract allows. Nothing here opens
a channel: that is container/training/channels.py.
"""

import codecs
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fm_core.errors import ConfigError
from fm_core.formats.registry import FORMATS, Role, media_types_for
from fm_core.small_json import object_of

__all__ = [
    "CONTENT_TYPES",
    "ITEMS",
    "MODEL",
    "Channel",
    "Paths",
    "TrainingJob",
    "read_hosts",
    "read_job",
    "read_object",
]

#: Content types a channel may have; the built-in has the first only.
CONTENT_TYPES = media_types_for(Role.CHANNEL)

_RECORDIO = FORMATS["recordio"].media_type

#: The channel that holds the model to start from, and the only content type that it may have.
MODEL = "model"
_MODEL_TYPES = ("application/x-sagemaker-model",)

#: The channel that holds the items to recommend, a table.
ITEMS = "items"

_MODES = ("File", "FastFile", "Pipe")
_DISTRIBUTIONS = ("FullyReplicated", "ShardedByS3Key")
_WRAPPERS = ("None", "RecordIO")
_COMPRESSIONS = ("None", "Gzip")


@dataclasses.dataclass(frozen=True)
class Paths:
    """The tree that SageMaker mounts, below one root."""

    root: Path

    @property
    def hyperparameters(self) -> Path:
        """The hyperparameters, text to text."""
        return self.root / "input/config/hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """The channels."""
        return self.root / "input/config/inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """The hosts."""
        return self.root / "input/config/resourceconfig.json"

    @property
    def checkpoint_config(self) -> Path:
        """Where checkpoints go; there only if the job asked for them."""
        return self.root / "input/config/checkpointconfig.json"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints go if nothing else is said."""
        return self.root / "checkpoints"

    @property
    def failure(self) -> Path:
        """Why the job failed; its first 1024 characters are shown."""
        return self.root / "output/failure"

    @property
    def output_data(self) -> Path:
        """The folder that becomes output.tar.gz."""
        return self.root / "output/data"

    @property
    def model(self) -> Path:
        """The folder that becomes model.tar.gz."""
        return self.root / "model"

    def model_file(self, host: str) -> Path:
        """The artifact. Its name contains the host's name, because the folders of all hosts become one archive."""
        return self.model / f"model_{host}"

    def channel(self, name: str) -> Path:
        """The folder of a channel in File and FastFile mode; FIFOs are next to it."""
        return self.root / "input/data" / name


@dataclasses.dataclass(frozen=True)
class Channel:
    """One named input.

    Attributes
    ----------
    name : str
    folder : Path
        Its files, in File and FastFile mode.
    mode : {"File", "FastFile", "Pipe"}
    content_type : str
        Lower case, without parameters.
    csv_weights : bool
        Whether the second column of text/csv is the weight: the parameter csv_weights=1.
    distribution : {"FullyReplicated", "ShardedByS3Key"}
    record_wrapper : {"None", "RecordIO"}
        RecordIO: each object comes in a frame of its own.
    compression : {"None", "Gzip"}
    """

    name: str
    folder: Path
    mode: str = "File"
    content_type: str = _RECORDIO
    distribution: str = "FullyReplicated"
    record_wrapper: str = "None"
    compression: str = "None"
    csv_weights: bool = False

    def fifo(self, epoch: int) -> Path:
        """The FIFO of one pass in Pipe mode, counted from 0."""
        return self.folder.with_name(f"{self.name}_{epoch}")


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """What the files of input/config say, apart from the meaning of the hyperparameters.

    Attributes
    ----------
    paths : Paths
    channels : mapping of str to Channel
        ``train`` is among them.
    current_host : str
    hosts : tuple of str
        Sorted as SageMaker sorts them; a single one where nothing is said.
    network_interface : str
    checkpoint_folder : Path or None
        None: the job did not ask for checkpoints, and there is no folder for them.
    """

    paths: Paths
    channels: Mapping[str, Channel]
    current_host: str = "algo-1"
    hosts: tuple[str, ...] = ("algo-1",)
    network_interface: str = "eth0"
    checkpoint_folder: Path | None = None


def read_job(paths: Paths) -> TrainingJob:
    """Read inputdataconfig.json, resourceconfig.json and checkpointconfig.json.

    Raises
    ------
    ConfigError
        A file is missing or malformed, or a key holds something else than it should; the
        message names both.
    """
    current_host, hosts, interface = read_hosts(paths)
    return TrainingJob(
        paths=paths,
        channels=MappingProxyType(_read_channels(paths)),
        current_host=current_host,
        hosts=hosts,
        network_interface=interface,
        checkpoint_folder=_read_checkpoint_folder(paths),
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    ConfigError
        The file is missing, unreadable, no JSON, or holds something else.
    """
    try:
        return object_of(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist, expected a file with a JSON object") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # also a number of 4300 digits
        raise ConfigError(f"{path}: {error}, expected a JSON object with every key once") from error


def _read_channels(paths: Paths) -> dict[str, Channel]:
    path = paths.input_data_config
    channels = {}
    for name, description in read_object(path).items():
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or name in (".", ".."):
            raise ConfigError(
                f"{path} has a channel named {name[:80]!r}, expected 1 to 64 letters, digits, dots, dashes "
                "or underscores"
            )
        if not isinstance(description, dict):
            raise ConfigError(f"{path}: channel {name} is a JSON {_kind(description)}, expected a JSON object")
        where = f"{path}: channel {name}"
        expected = _MODEL_TYPES if name == MODEL else tuple(CONTENT_TYPES)
        declared = _text(description, "ContentType", where, expected[0])
        channels[name] = channel = Channel(
            name=name,
            folder=paths.channel(name),
            mode=_one_of(_MODES, description, "TrainingInputMode", where),
            content_type=_content_type(declared, expected, where),
            csv_weights=_has_weights(declared, where),
            distribution=_one_of(_DISTRIBUTIONS, description, "S3DistributionType", where),
            record_wrapper=_one_of(_WRAPPERS, description, "RecordWrapperType", where),
            compression=_one_of(_COMPRESSIONS, description, "CompressionType", where),
        )
        if name == MODEL and channel.mode == "Pipe":
            raise ConfigError(f"{where}: TrainingInputMode is Pipe, expected File or FastFile: it holds a model file")
        if name != MODEL and channel.mode == "Pipe" and not CONTENT_TYPES[channel.content_type].is_stream:
            what = CONTENT_TYPES[channel.content_type].name.capitalize()
            raise ConfigError(
                f"{where}: TrainingInputMode is Pipe, expected File or FastFile: {what} cannot be read as a stream"
            )
        if channel.record_wrapper != "None" and channel.content_type != _RECORDIO and name != MODEL:
            raise ConfigError(
                f"{where}: RecordWrapperType is {channel.record_wrapper}, expected None for {channel.content_type}"
            )
    if "train" not in channels:
        has = f"only {', '.join(channels)}" if channels else "no channel at all"
        raise ConfigError(f"{path} has {has}, expected a channel named train: add it to the job's input data")
    return channels


def _content_type(declared: str, expected: tuple[str, ...], where: str) -> str:
    content_type, *parameters = (part.strip().lower() for part in declared.split(";"))
    if content_type not in expected:
        raise ConfigError(f"{where}: ContentType is {_short(declared)}, expected {' or '.join(expected)}, or none")
    is_csv = content_type == FORMATS["csv"].media_type
    for parameter in parameters:
        # Other algorithms of SageMaker take rows without labels, or with several, so.
        if is_csv and parameter.startswith("label_size") and parameter != "label_size=1":
            raise ConfigError(f"{where}: ContentType is {_short(declared)}, expected label_size=1 or none")
    return content_type


def _has_weights(declared: str, where: str) -> bool:
    """Whether CSV has weights in its second column, as the built-in XGBoost's csv_weights says."""
    content_type, *parameters = ("".join(part.lower().split()) for part in declared.split(";"))
    said = [parameter.partition("=")[2] for parameter in parameters if parameter.partition("=")[0] == "csv_weights"]
    if not said:
        return False
    if content_type != FORMATS["csv"].media_type or said[-1] not in ("0", "1"):
        raise ConfigError(
            f"{where}: ContentType is {_short(declared)}, expected csv_weights=1 or csv_weights=0, of "
            f"{FORMATS['csv'].media_type} alone: libsvm has label:weight, and RecordIO the label weights"
        )
    return said[-1] == "1"


def read_hosts(paths: Paths) -> tuple[str, tuple[str, ...], str]:
    """Read resourceconfig.json: the name of this host, those of all, and the network interface between them.

    Raises
    ------
    ConfigError
        As `read_job`.
    """
    path = paths.resource_config
    if not path.exists():  # a plain `docker run`: one host
        return TrainingJob.current_host, TrainingJob.hosts, TrainingJob.network_interface
    resources = read_object(path)
    hosts = resources.get("hosts")
    current = _text(resources, "current_host", str(path), "")
    if hosts is None:
        hosts = [current or TrainingJob.current_host]
    if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"{path}: hosts is {_short(hosts)}, expected a list of one or more host names")
    for host in hosts:  # it becomes part of a file's name
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", host):
            raise ConfigError(f"{path}: hosts has {_short(host)}, expected a host name")
    current = current or hosts[0]
    if current not in hosts:
        raise ConfigError(f"{path}: current_host is {_short(current)}, expected one of hosts: {', '.join(hosts)}")
    interface = _text(resources, "network_interface_name", str(path), TrainingJob.network_interface)
    return current, tuple(hosts), interface


def _read_checkpoint_folder(paths: Paths) -> Path | None:
    path = paths.checkpoint_config
    if not path.exists():
        return paths.checkpoints if paths.checkpoints.is_dir() else None
    return Path(_text(read_object(path), "LocalPath", str(path), str(paths.checkpoints)))


def _one_of(choices: tuple[str, ...], description: dict[str, Any], key: str, where: str) -> str:
    value = _text(description, key, where, choices[0])
    if value not in choices:
        raise ConfigError(f"{where}: {key} is {_short(value)}, expected {' or '.join(choices)}")
    return value


def _text(description: dict[str, Any], key: str, where: str, default: str) -> str:
    value = description.get(key)
    if value is None or value == "":
        return default
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {key} is a JSON {_kind(value)}, expected text")
    return value


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
