"""The same rows, however they are written and delivered, train the same model: `train` as a process.

Whatever reaches a channel (compressed, wrapped, split, in thousands of files, through a FIFO), and
whatever a foreign writer makes of a row (keys out of order, numbers not packed, names, other types).
"""

import gzip
import io
import re
import struct

import numpy as np
import pytest
import scipy.sparse as sp

from fm_core.formats import Source, read_batches, write_records
from fm_core.formats.recordio.framing import Framer
from tests.contract.test_pipe import fed
from tests.contract.training import FEATURE_DIM, Job, records
from tests.fm_core.formats.recordio import wire

DATA = records(500)
RECORDS = [frame.payload for frame in Framer().feed(DATA)]


def job_of(root, **channel):
    job = Job(root)
    job.hyperparameters["epochs"] = "2"
    job.channels["train"] = channel
    return job


def model_of(root, data, **channel):
    """The model that a job of one file trains."""
    job = job_of(root, **channel)
    job.put("0.pbr", data)
    done = job.run()
    assert done.succeeded, done.log
    return done.model


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return model_of(tmp_path_factory.mktemp("plain") / "job", DATA)


# --- how it is delivered -------------------------------------------------------------------------


def wrapped(data):
    """An object as RecordWrapperType: RecordIO delivers it."""
    return wire.frame(data)


def zipped(data):
    """Two members, padded."""
    half = len(data) // 2 + 1
    return gzip.compress(data[:half]) + gzip.compress(data[half:], 1) + bytes(9)


#: The bytes of the channel, and what inputdataconfig.json says of it.
DELIVERIES = {
    "plain": (DATA, {}),
    "gzip": (zipped(DATA), {}),
    "wrapped": (wrapped(DATA), {"RecordWrapperType": "RecordIO"}),
    "wrapped and gzip": (zipped(wrapped(DATA)), {"RecordWrapperType": "RecordIO"}),
    "gzip said": (zipped(DATA), {"CompressionType": "Gzip"}),
    # Metadata with the magic in it, at which dmlc's writer splits a record.
    "split records": (b"".join(wire.split_at_magic(wire.field(4, b"ab" + wire.MAGIC) + each) for each in RECORDS), {}),
}


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("mode", ["File", "FastFile", "Pipe"])
def test_the_model_does_not_depend_on_the_mode_and_the_packing(tmp_path, expected, mode, delivery):
    data, channel = DELIVERIES[delivery]
    if mode != "Pipe":
        assert model_of(tmp_path / "job", data, TrainingInputMode=mode, **channel) == expected
        return
    file = tmp_path / "0.pbr"
    file.write_bytes(data)
    for number, chunk in enumerate((13, 1 << 16)):
        job = job_of(tmp_path / str(number), TrainingInputMode=mode, **channel)
        with fed(job, "train", file, epochs=2, chunk=chunk):
            done = job.run()
        assert done.succeeded, done.log
        assert done.model == expected


def test_thousands_of_small_files_are_one_channel(tmp_path, expected):
    job = job_of(tmp_path / "job", TrainingInputMode="FastFile")
    for n, payload in enumerate(RECORDS):
        # In the order of their keys; between them, what holds no records.
        job.put(f"part-{n // 100}/{n % 100:02}/0.pbr", wire.frame(payload))
        for name in (".part.crc", "_SUCCESS", "empty", "more/x.manifest"):
            job.put(f"part-{n // 100}/{n % 100:02}/{name}", b"" if name == "empty" else b"no record")
    done = job.run()
    assert done.succeeded, done.log
    assert done.model == expected
    assert len(re.findall("Channel train: 2000 of 2500 files hold no records and are skipped: ", done.log)) == 1


# --- how it is written ---------------------------------------------------------------------------


def rewritten(write):
    """Every record anew: `write` gets values, keys and label, and gives the payload."""
    matrix, labels = _rows()
    return b"".join(
        wire.frame(write(matrix.data[start:stop], matrix.indices[start:stop], label))
        for start, stop, label in zip(matrix.indptr[:-1], matrix.indptr[1:], labels, strict=True)
    )


def _rows():
    (batch,) = read_batches([Source("", [DATA])], feature_dim=FEATURE_DIM, batch_size=1000, labels="binary")
    return sp.csr_matrix((batch.values, batch.indices, batch.indptr), (batch.n_rows, FEATURE_DIM)), batch.labels


def unpacked(values, keys, label):
    """As protobuf 2 code without `packed` writes it: each number a field."""
    content = b"".join(
        wire.single(1, 5, struct.pack("<f", value)) + wire.single(2, 0, wire.varint(int(key)))
        for value, key in zip(values, keys, strict=True)
    )
    return wire.field(1, wire.entry(wire.value(content))) + wire.label(label)


def repeated(values, keys, label):
    """Every value in two halves, the second ones behind, in reverse order."""
    halves = np.concatenate([values / 2, values[::-1] / 2])
    return wire.features(halves, np.concatenate([keys, keys[::-1]])) + wire.label(label)


def named(values, keys, label):
    """With uid, metadata, configuration, other keys, and fields that nobody knows."""
    other = wire.field(1, wire.entry(wire.value(wire.tensor([7.0], [3])), b"other"))
    texts = wire.field(3, b"uid-1") + wire.field(4, b'{"x": 1}') + wire.field(5, b"") + wire.field(99, b"?")
    return texts + wire.label(3.0, key=b"other") + wire.features(values, keys) + other + wire.label(label)


#: As written by hand, by sagemaker-spark (float32, shape and keys) and by others.
WRITERS = {
    "no shape": lambda values, keys, label: wire.features(values, keys) + wire.label(label),
    "spark": lambda values, keys, label: wire.label(label) + wire.features(values, keys, [FEATURE_DIM]),
    "double": lambda values, keys, label: (
        wire.features(values.astype(float), keys, [FEATURE_DIM], wire.FLOAT64) + wire.label(label, member=wire.INT32)
    ),
    "unpacked": unpacked,
    "keys out of order": lambda values, keys, label: wire.features(values[::-1], keys[::-1]) + wire.label(label),
    "keys repeated": repeated,
    "named": named,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_model_does_not_depend_on_the_writer(tmp_path, expected, writer):
    assert model_of(tmp_path / "job", rewritten(WRITERS[writer])) == expected


def good(n):
    return b"".join(map(wire.frame, RECORDS[:n]))


#: What follows seven good records of forty features, and what is said of record 7.
REFUSED = {
    "dense among sparse": (
        wire.features(np.ones(FEATURE_DIM)) + wire.label(1.0),
        r"the record is dense \(40 values without keys\), expected a sparse one like the records before it"),
    "sparse of another width": (
        wire.features([1.0], [3], [41]) + wire.label(1.0), r"the shape of the record is 41, expected feature_dim=40"),
    "key beyond the width": (
        wire.features([1.0], [2**64 - 1]) + wire.label(1.0), rf"key {2**64 - 1} is not below feature_dim=40"),
    "infinite": (
        wire.features([float("-inf")], [3]) + wire.label(1.0), r"the value of key 3 is -inf, expected a number that"),
    "no label": (wire.features([1.0], [3]), r"the record has no number under label 'values', expected one"),
    "labels": (wire.features([1.0], [3]) + wire.label(1.0, 0.0), r"the record has 2 numbers under label 'values'"),
    "a varint of eleven bytes": (b"\xff" * 11, r"the varint at byte 0 of the payload is longer than its type allows"),
    "two gigabytes declared": (
        b"\x0a" + wire.varint(2**31 - 1) + bytes(14),
        r"the field at byte 0 of the payload declares 2147483647 bytes, more than its message has left"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_record_is_refused_with_its_file_number_and_byte(tmp_path, what):
    payload, sentence = REFUSED[what]
    job = job_of(tmp_path / "job")
    job.put("a.pbr", good(3))
    job.put("b/c.pbr", good(7) + wire.frame(payload))
    done = job.run()
    assert (done.code, done.model) == (1, {})
    place = rf"ClientError: train/b/c\.pbr: record 7 \(byte {len(good(7))}\): "
    assert re.match(place + sentence, done.failure), done.failure


@pytest.mark.parametrize("width", [FEATURE_DIM - 1, FEATURE_DIM + 1])
def test_a_dense_record_of_another_width_is_refused_with_both_numbers(tmp_path, width):
    job = job_of(tmp_path / "job")
    file = io.BytesIO()
    write_records(file, np.ones((2, width), np.float32), np.ones(2, np.float32))
    job.put("0.pbr", records(5, dense=True) + file.getvalue())
    done = job.run()
    assert (done.code, done.model) == (1, {})
    sentence = rf"record 5 \(byte \d+\): the record has {width} values without keys, expected feature_dim=40"
    assert re.match(r"ClientError: train/0\.pbr: " + sentence, done.failure), done.failure


# --- memory --------------------------------------------------------------------------------------

#: Trains, then prints the most memory this process had, in KiB (its own: a child's rusage begins with its parent's).
MEASURED = """
import re, sys
from container.train import main
code = main([])
print("peak", re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1], flush=True)
sys.exit(code)
"""


def peak_of(root, copies, mode, pack):
    """Peak bytes of a job of so many copies of the data."""
    job = job_of(root, TrainingInputMode=mode)
    job.hyperparameters |= {"epochs": "1", "num_threads": "1"}
    file = job.put("0.pbr", b"") if mode != "Pipe" else root / "0.pbr"
    with pack(file, "wb") as out:
        for _ in range(copies):
            out.write(DATA * 20)
    if mode == "Pipe":
        with fed(job, "train", file, epochs=1, chunk=1 << 20):
            done = job.run("-c", MEASURED)
    else:
        done = job.run("-c", MEASURED)
    assert done.succeeded, done.log
    assert f'"Total Records Seen": {{"sum": {10_000.0 * copies}' in done.log
    return 1024 * int(re.search(r"^peak (\d+)$", done.log, re.MULTILINE)[1])


def quickly_zipped(file, mode):
    return gzip.open(file, mode, compresslevel=1)


@pytest.mark.parametrize(
    ("mode", "pack"), [("File", open), ("File", quickly_zipped), ("Pipe", open)], ids=["File", "gzip", "Pipe"]
)
def test_memory_does_not_grow_with_the_file(tmp_path, mode, pack):
    small = peak_of(tmp_path / "small", 2, mode, pack)
    large = peak_of(tmp_path / "large", 100, mode, pack)
    size = 100 * 20 * len(DATA)
    assert size > 60e6
    assert large - small < 0.1 * size, f"{small / 1e6:.0f} MB, {large / 1e6:.0f} MB with a file of {size / 1e6:.0f} MB"
