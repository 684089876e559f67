"""Records and their frames: bytes to batches, and rows and predictions to bytes.

`read_batches` and `decode_rows` read, `write_records` and `encode_predictions` write,
`read_records` reads a whole file into a matrix; `open_chunks`, `decompressed` and `unwrap` turn files
into chunks of bytes. `recordio` and `records` are the same in plain Python, and say what the compiled
modules have to do; `schema` (imported on request, as it needs protobuf) has the message classes.
Other formats than RecordIO are read and written by `inputs`, `outputs` and `conversion`; `tables`
makes features of columns.
"""

from fm_core.formats.recordio._encode import encode_predictions, write_records
from fm_core.formats.recordio.reader import Source, decode_rows, read_batches
from fm_core.formats.recordio.unwrap import unwrap
from fm_core.formats.recordio.whole_file import read_records
from fm_core.formats.streams import decompressed, open_chunks

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

#: Name under which the schema of a table lies beside its records, and beside the model of them.
SCHEMA_FILE = "schema.json"
