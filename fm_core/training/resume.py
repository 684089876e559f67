"""Resume within an epoch: skip the batches that were done, and verify them by a checksum of their labels."""

import itertools
import logging
import zlib
from collections.abc import Callable, Iterator

from fm_core.batch import Batch
from fm_core.checkpoints.reshard import UNKNOWN_LABELS
from fm_core.errors import DataError

__all__ = ["compare_labels", "labels_crc", "pass_over", "skip"]

_log = logging.getLogger(__name__)


def skip(stream: Iterator[Batch], epoch: int, n_done: int, crc: int, should_stop: Callable[[], bool]) -> None:
    """Skip the batches that a checkpoint has done, and check that they are the same.

    Parameters
    ----------
    stream : iterator of Batch
        Of the epoch that is resumed, from its start.
    epoch, n_done : int
        The epoch's number, and how many of its batches the checkpoint has done.
    crc : int
        The checksum of the labels of these batches.
    should_stop : callable
        Whether the job was asked to stop.

    Raises
    ------
    DataError
        The epoch has fewer batches.
    """
    n, found = pass_over(stream, n_done)
    if should_stop():  # the stream may have been cut short by that
        return
    if n < n_done:
        raise DataError(
            f"epoch {epoch} has {n} batches, but the checkpoint was written after {n_done} of them: the training data "
            "has changed; use another checkpoint folder to train from the start"
        )
    compare_labels(found, crc, epoch)


def pass_over(stream: Iterator[Batch], n_done: int) -> tuple[int, int]:
    """Skip the first batches of a stream.

    Parameters
    ----------
    stream : iterator of Batch
    n_done : int
        The number of batches to skip.

    Returns
    -------
    n, crc : tuple of int
        How many there were, and the checksum of their labels.
    """
    n = crc = 0
    for batch in itertools.islice(stream, n_done):
        n += 1
        crc = labels_crc(batch, crc)
    return n, crc


def compare_labels(found: int, crc: int, epoch: int) -> None:
    """Log a warning if the records read before a checkpoint have other labels now.

    Parameters
    ----------
    found, crc : int
        Checksums of the labels: of those now, and of those when the checkpoint was written.
    epoch : int
        For the message.
    """
    if crc not in (found, UNKNOWN_LABELS):
        _log.warning(
            "The records that epoch %d read before the checkpoint have changed, or their order has: the model will "
            "differ from that of an uninterrupted training.", epoch,
        )  # fmt: skip


def labels_crc(batch: Batch, crc: int) -> int:
    """Continue the checksum of labels and sizes with a batch.

    Parameters
    ----------
    batch : Batch
        With labels.
    crc : int
        The checksum of the batches before; 0 at the start.

    Returns
    -------
    crc : int
        Unknown if it was.
    """
    if crc == UNKNOWN_LABELS:
        return crc
    # labels only: they tell one order of the data from another, and cost microseconds
    return zlib.crc32(batch.values.size.to_bytes(8, "little"), zlib.crc32(batch.known_labels.data, crc))
