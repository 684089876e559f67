"""A channel -> (epoch number -> its streams of records).

File and FastFile: every file below the channel's folder, in the order in which S3 lists objects.
Pipe: one FIFO for each pass, `<channel>_<n>`, which may not exist yet. fm_core.formats interprets the bytes;
this module knows where they come from, how long to wait for them, and which files are not data.
"""

import contextlib
import fcntl
import functools
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from container.stopping import StopRequest
from container.training.job import CONTENT_TYPES, Channel
from fm_core.errors import ConfigError, DataError
from fm_core.formats import SCHEMA_FILE, Source, decompressed, open_chunks, unwrap
from fm_core.formats.column_order import ColumnOrder
from fm_core.formats.hive import folders_left_out, partition_of

__all__ = ["ChannelReader", "channel_files", "data_files", "fingerprint"]

_CHUNK = 1 << 20
#: How often a path is looked for; an open FIFO is waited for without a tick.
_LOOK_SECONDS = 0.02

_log = logging.getLogger(__name__)


class ChannelReader:
    """The passes over one channel.

    Parameters
    ----------
    channel : Channel
    stop : StopRequest
        Ends every wait.
    wait_seconds : float
        How long a FIFO may take to appear, to be opened by its writer, or to deliver its next bytes.
    n_hosts : int
        Hosts of the job: with several of them a shard may be empty.
    order : ColumnOrder, optional
        Of the columns of tables.

    Attributes
    ----------
    name : str
        The channel's.
    n_bytes : int
        Bytes of the latest pass so far, after decompression.
    may_be_empty : bool
        Whether no record at all is no fault: it may be this host's shard.
    first_epoch : int
        The epoch whose pass is the first of this process: in Pipe mode, that of FIFO 0.
    read_batches : callable
        Decodes this channel's content type; see fm_core.formats.

    Raises
    ------
    ConfigError
        There is no such folder.
    DataError
        The channel has no data, and no sharding explains it.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        stop: StopRequest,
        wait_seconds: float,
        n_hosts: int = 1,
        order: ColumnOrder | None = None,
    ) -> None:
        content = CONTENT_TYPES[channel.content_type]
        options = {"weights": True} if channel.csv_weights else {}
        self.read_batches = functools.partial(
            content.functions.read_batches, **options, **({"order": order} if content.is_table else {})
        )
        self.n_bytes = 0
        self.first_epoch = 0
        self.name = channel.name
        self._channel = channel
        self._stop = stop
        self._wait_seconds = wait_seconds
        # ShardedByS3Key gives nothing to some hosts when there are fewer objects than hosts.
        self.may_be_empty = n_hosts > 1 and channel.distribution == "ShardedByS3Key"
        self._files: list[Path] = []
        self._at_first: str | None = None
        if channel.mode != "Pipe":
            self._find_files()

    def sources(self, epoch: int) -> Iterator[Source]:
        """The streams of one pass.

        Raises
        ------
        Interrupted
            The job was asked to stop while data was waited for.
        DataError
            A FIFO did not appear, or fell silent, for longer than the limit; or files are not those of the first pass.
        """
        self.n_bytes = 0
        if self._channel.mode == "Pipe":
            fifo = self._channel.fifo(epoch - self.first_epoch)
            yield self._source(fifo.name, decompressed(self._fifo_chunks(fifo), fifo.name))
        self._refuse_other_files()
        for path in self._files:
            yield self._source(path.relative_to(self._channel.folder.parent).as_posix(), open_chunks(path))

    @property
    def is_stream(self) -> bool:
        """Whether what is read is gone: in Pipe mode."""
        return self._channel.mode == "Pipe"

    @property
    def fingerprint(self) -> str:
        """What is known of the data without reading it."""
        return "a stream" if self.is_stream else fingerprint(self._channel.folder, self._files)

    @property
    def share_read(self) -> float | None:
        """How much of the files has been read in this pass, if that is known: not of a pipe.

        Of compressed files, and where much is read ahead, it is overrated.
        """
        if self.is_stream:
            return None
        return self.n_bytes / max(1, sum(path.stat().st_size for path in self._files))

    def refuse_empty(self, epoch: int) -> None:
        """Say what an empty pass means: nothing if this host's shard may be empty, else an error."""
        if self.may_be_empty:
            _log.info("This host's shard of channel %s is empty.", self._channel.name)
            return
        if self._channel.mode == "Pipe":
            where = f"{self._channel.fifo(epoch - self.first_epoch)} ended without a record"
        else:
            where = f"no file below {self._channel.folder} holds a record"
        raise DataError(f"channel {self._channel.name} is empty: {where}, expected at least one; check its S3 location")

    def _source(self, name: str, chunks: Iterable[Any]) -> Source:
        if self._channel.record_wrapper == "RecordIO":
            chunks = unwrap(chunks)
        return Source(name, self._counted(chunks))

    def _counted(self, chunks: Iterable[Any]) -> Iterator[Any]:
        for chunk in chunks:
            self.n_bytes += len(chunk)
            yield chunk

    def _find_files(self) -> None:
        folder = self._channel.folder
        self._files, skipped = channel_files(self._channel)
        if skipped:
            named = ", ".join(f"{path.relative_to(folder).as_posix()} ({why})" for path, why in skipped[:5])
            more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
            _log.info(
                "Channel %s: %d of %d files hold no records and are skipped: %s%s",
                self._channel.name, len(skipped), len(skipped) + len(self._files), named, more,
            )  # fmt: skip
        if not CONTENT_TYPES[self._channel.content_type].is_table:
            left_out = folders_left_out(path.relative_to(folder.parent).as_posix() for path in self._files)
            if left_out is not None:
                _log.warning("Channel %s: %s", self._channel.name, left_out)
        if not self._files:
            self.refuse_empty(0)

    def _refuse_other_files(self) -> None:
        """Refuse files whose names or sizes have changed since the first pass."""
        if self.is_stream:
            return
        try:
            found = self.fingerprint
        except FileNotFoundError as error:
            raise self._changed(f"{error.filename} is gone") from error
        if self._at_first is not None and found != self._at_first:
            raise self._changed(f"there are {found}, but at first there were {self._at_first}")
        self._at_first = found

    def _changed(self, how: str) -> DataError:
        return DataError(
            f"channel {self._channel.name} was changed while it was read: {how}; write new data to another place"
        )

    def _fifo_chunks(self, fifo: Path) -> Iterator[bytes]:
        """Read a FIFO to its end. Leaving the iterator early closes it, as SageMaker allows."""
        descriptor = self._open_fifo(fifo)
        try:
            with contextlib.suppress(OSError):  # fewer switches between the writer and us, where that is permitted
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _CHUNK)
            while True:
                # A FIFO that no writer has opened yet reads as ended, but polls as silent; only a
                # writer that came and went makes poll return. So poll first, always.
                self._wait(lambda seconds: self._stop.wait(seconds, descriptor), f"data from {fifo}")
                chunk = os.read(descriptor, _CHUNK)
                if not chunk:
                    return
                yield chunk
        finally:
            os.close(descriptor)

    def _open_fifo(self, fifo: Path) -> int:
        found = []

        def look(seconds: float) -> bool:
            with contextlib.suppress(FileNotFoundError):
                found.append(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
                return True
            self._stop.wait(min(seconds, _LOOK_SECONDS))
            return False

        self._wait(look, f"the FIFO {fifo}")
        return found[0]

    def _wait(self, attempt: Callable[[float], bool], what: str) -> None:
        """Call ``attempt(seconds)`` until it is true; say every while that it is not, and give up in the end."""
        start = time.monotonic()
        # Once a minute with the default limit of half an hour.
        report_every = self._wait_seconds / 30
        reports = 1
        while not attempt(max(0.0, reports * report_every - (time.monotonic() - start))):
            waited = time.monotonic() - start
            if waited >= self._wait_seconds:
                raise DataError(
                    f"channel {self._channel.name}: timed out after {self._wait_seconds:g} s waiting for {what}; "
                    f"check that its input mode is Pipe and its data readable (FM_PIPE_WAIT_SECONDS sets the limit)"
                )
            if waited >= reports * report_every:
                _log.info("Waiting for %s: %.0f s so far, %g s at most", what, waited, self._wait_seconds)
                reports += 1


def channel_files(channel: Channel) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find the files of a channel that is not in Pipe mode; see `data_files`.

    Raises
    ------
    ConfigError
        There is no such folder.
    """
    if not channel.folder.is_dir():
        raise ConfigError(
            f"channel {channel.name}: TrainingInputMode is {channel.mode}, but there is no folder {channel.folder}"
        )
    return data_files(channel.folder)


def data_files(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find the files of a channel.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    files : list of Path
        All of them however deep, sorted by their path's bytes as S3 sorts keys.
    skipped : list of (Path, str)
        What holds no records, each with the reason.
    """
    files: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    _walk(folder, frozenset(), files, skipped)

    def key(path: Path) -> bytes:
        return os.fsencode(path.relative_to(folder))

    return sorted(files, key=key), sorted(skipped, key=lambda item: key(item[0]))


def fingerprint(folder: Path, files: list[Path]) -> str:
    """What is known of files without reading them: how many, their size, and a checksum of names and sizes."""
    facts = [(os.fsencode(file.relative_to(folder)), file.stat().st_size) for file in files]
    total = sum(size for _, size in facts)
    return f"{len(facts)} files of {total} bytes ({zlib.crc32(repr(facts).encode()):08x})"


def _walk(folder: Path, above: frozenset[tuple[int, int]], files: list[Path], skipped: list[tuple[Path, str]]) -> None:
    status = folder.stat()
    above |= {(status.st_dev, status.st_ino)}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                skipped.append((path, "hidden"))
            elif entry.name.startswith("_") and not (entry.is_dir() and partition_of(entry.name)):
                # Spark's, Hive's and Delta's own: _SUCCESS, _metadata, _committed_..., _temporary, _delta_log
                skipped.append((path, "a marker"))
            elif entry.is_dir():
                inside = entry.stat()
                if (inside.st_dev, inside.st_ino) in above:
                    skipped.append((path, "a link to a folder above it"))
                else:
                    _walk(path, above, files, skipped)
            elif not entry.is_file():
                skipped.append((path, "not a file"))
            elif entry.name.endswith(".manifest"):
                skipped.append((path, "a marker"))
            elif entry.name.endswith(SCHEMA_FILE):  # `fm convert` writes one beside its records
                skipped.append((path, "a schema"))
            elif entry.stat().st_size == 0:
                skipped.append((path, "empty"))
            else:
                files.append(path)
