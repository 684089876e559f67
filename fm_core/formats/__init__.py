"""Records, text and tables: bytes to batches, and rows and predictions to bytes.

`read_batches` and `decode_rows` read RecordIO-protobuf, `write_records` and `encode_predictions` write it,
`read_records` reads a whole file into a matrix; `open_chunks`, `decompressed` and `unwrap` turn files
into chunks of bytes. The other formats are rows of `registry.FORMATS`; `recordio`, `text` and `tables` hold
what reads them, `requests` what clients send, `convert` makes files of one format files of another.
"""

from fm_core.formats.recordio._encode import encode_predictions, write_records
from fm_core.formats.recordio.reader import decode_rows, read_batches
from fm_core.formats.recordio.unwrap import unwrap
from fm_core.formats.recordio.whole_file import read_records
from fm_core.formats.streams import Source, decompressed, open_chunks
from fm_core.formats.tables import SCHEMA_FILE

__all__ = [
    "SCHEMA_FILE",
    "Source",
    "decode_rows",
    "decompressed",
    "encode_predictions",
    "open_chunks",
    "read_batches",
    "read_records",
    "unwrap",
    "write_records",
]
