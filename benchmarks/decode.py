"""Decoding: bytes of RecordIO-protobuf to batches, compared with protobuf's own parser in Python.

Run ``python benchmarks/decode.py [FILE --feature-dim D]``. Without a file it creates one from a fixed seed: 200,000
records of 39 keys below a million, as in click logs. All implementations read the same bytes in the same process, one
after the other in each round. The benchmark prints medians, and the median ratio of each to this project's decoder.
Time is the CPU time of the process, including system calls, which other work on the machine disturbs less. Each uses
one thread. protobuf gets only the first 20,000 records.
"""

import argparse
import functools
import itertools
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import google.protobuf
import numpy as np
import scipy.sparse
from common import describe, in_turn, ratios, table, times
from google.protobuf.internal import api_implementation

from fm_core.formats import Source, open_chunks, read_batches, write_records
from fm_core.formats.recordio.framing import frame
from fm_core.formats.recordio.messages import Record

BATCH_SIZE = 1000
CHUNK = 1 << 20


def make_data(path: Path, n_records: int, n_keys: int = 39, feature_dim: int = 1_000_000) -> None:
    rng = np.random.default_rng(20240229)
    # A field of its own for each key, ids within it by a power law.
    width = feature_dim // n_keys
    keys = (width * rng.random((n_records, n_keys)) ** 4).astype(np.int32) + np.arange(n_keys, dtype=np.int32) * width
    rows = scipy.sparse.csr_array(
        (np.ones(keys.size, np.float32), keys.ravel(), np.arange(n_records + 1) * n_keys),
        shape=(n_records, feature_dim),
    )
    with path.open("wb") as file:
        write_records(file, rows, rng.integers(0, 2, n_records).astype(np.float32))


def chunks_of(data: bytes) -> list[memoryview]:
    view = memoryview(data)
    return [view[i : i + CHUNK] for i in range(0, len(view), CHUNK)]


def decode(chunks, feature_dim: int) -> int:
    batches = read_batches([Source("", chunks)], feature_dim=feature_dim, batch_size=BATCH_SIZE, labels="real")
    return sum(batch.n_rows for batch in batches)


def payloads_of(data: bytes):
    at = 0
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        yield data[at + 8 : at + 8 + length]
        at += 8 + (length + 3) // 4 * 4


def protobuf_parse(data: bytes) -> int:
    """Parse each record; look at nothing."""
    return sum(1 for payload in payloads_of(data) if Record.FromString(payload) is not None)


def protobuf_rows(data: bytes) -> int:
    """Parse each record, and make arrays of keys, values and labels, as a loader in Python does."""
    keys, values, labels = [], [], []
    for payload in payloads_of(data):
        record = Record.FromString(payload)
        tensor = record.features["values"].float32_tensor
        keys.append(np.array(tensor.keys, np.int32))
        values.append(np.array(tensor.values, np.float32))
        labels.append(record.label["values"].float32_tensor.values[0])
    arrays = np.concatenate(keys), np.concatenate(values), np.array(labels, np.float32)
    return len(arrays[-1])


def speeds(size: int, work: Callable[[], int]) -> tuple[float, float]:
    """Bytes and records a second of its processor time."""
    start = time.process_time()
    n_records = work()
    taken = time.process_time() - start
    return size / taken, n_records / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="sparse Float32 records (default: created)")
    parser.add_argument("--feature-dim", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=200_000, help="number of records to create")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file
        if path is None:
            path = Path(folder) / "records"
            make_data(path, options.records, feature_dim=options.feature_dim)
        measure(path, options.feature_dim, options.rounds)


def measure(path: Path, feature_dim: int, rounds: int) -> None:
    data = path.read_bytes()
    head = b"".join(frame(payload) for payload in itertools.islice(payloads_of(data), 20_000))
    chunks = chunks_of(data)
    works = {
        "fm_core, from memory": (len(data), lambda: decode(chunks, feature_dim)),
        "fm_core, from the file": (len(data), lambda: decode(open_chunks(path), feature_dim)),
        "protobuf, parse only": (len(head), lambda: protobuf_parse(head)),
        "protobuf, to arrays": (len(head), lambda: protobuf_rows(head)),
    }
    describe("Decoding")
    print(f"protobuf {google.protobuf.__version__} ({api_implementation.Type()}); {len(data) / 1e6:.0f} MB of records, "
          f"batches of {BATCH_SIZE}, one thread; medians of {rounds} rounds in turn\n")  # fmt: skip
    found = in_turn({name: functools.partial(speeds, *work) for name, work in works.items()}, rounds)
    rates = {name: tuple(zip(*measured, strict=True)) for name, measured in found.items()}
    ours = rates["fm_core, from memory"][0]
    table(
        ["", "GB/s", "records/s", "its time / ours"],
        [
            [
                name,
                f"{statistics.median(size) / 1e9:.3f}",
                f"{statistics.median(records):,.0f}",
                times(ratios(ours, size)),
            ]
            for name, (size, records) in rates.items()
        ],
    )


if __name__ == "__main__":
    main()
