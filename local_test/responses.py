"""Read a RecordIO-protobuf response, as a client does: frames, then the protobuf package."""

import numpy as np
from numpy.typing import NDArray

from fm_core.formats.recordio.framing import Framer
from fm_core.formats.recordio.messages import Record

__all__ = ["read_scores"]


def read_scores(body: bytes) -> NDArray[np.float32]:
    """Take the score of every record of a response body."""
    framer = Framer()
    records = [Record.FromString(frame.payload) for frame in framer.feed(body)]
    framer.close()
    return np.array([record.label["score"].float32_tensor.values[0] for record in records], np.float32)
