"""RecordIO-protobuf, SageMaker's own format: framing, records, whole files."""

from fm_core.formats.recordio.framing import Framer, frame

__all__ = ["MEDIA_TYPE", "Framer", "frame"]

MEDIA_TYPE = "application/x-recordio-protobuf"
