"""What is fuzzed: each target takes any bytes and raises nothing, or the decoder behind it is wrong.

A decoder gives rows that keep what `Batch` promises, or refuses with a `DataError` of one
line. The last byte of an input says how the rest is offered (labels, width, cuts into
chunks), so that the other bytes can be those of a golden file. The ordinary tests replay
the seeds and the findings; `python -m tests.fuzz` looks for new ones.
"""

import gzip
import struct
from pathlib import Path

from container.serving.payloads import Rows, Wishes
from container.serving.requests import DECODERS
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats import Source, decode_rows, decompressed, read_batches, unwrap
from fm_core.formats.recordio.framing import frame
from fm_core.formats.registry import FORMATS
from tests.fm_core.formats import twins
from tests.fm_core.formats.recordio import wire
from tests.fuzz.files import FILE_TARGETS, file_seeds

__all__ = ["FINDINGS", "TARGETS", "seeds"]

GOLDEN = Path(__file__).parents[1] / "golden"
FINDINGS = GOLDEN / "findings"

LABELS = ("none", "real", "binary", "real")
WIDTHS = (10, 300)


def _training(read):
    def target(data: bytes) -> None:
        """What a training channel is read with, one bad record skipped: the cuts into chunks make no difference."""
        body, labels, width, cut = _offered(data)
        kind = (None, None, False, True)[cut & 3]
        found = []
        for chunks in ([body], _cut(body, cut)):
            rows, said = [], []
            try:
                for batch in read(
                    [Source("source", chunks)], feature_dim=width, batch_size=3, labels=labels, is_dense=kind,
                    max_bad_records=1, on_bad_record=said.append,
                ):  # fmt: skip
                    _check(batch, width)
                    rows += twins.rows_of(batch)
            except DataError as error:
                _check_sentence(error)
                said.append(str(error))
            if any("the file is not text" in each or "the file looks like" in each for each in said):
                return  # a courtesy that looks at the first chunk alone
            found.append(repr((rows, said)))
        assert found[0] == found[1], f"whole: {found[0]}, cut: {found[1]}"

    return target


def twin_readers(data: bytes) -> None:
    """The compiled reader finds what the plain one, its specification, does."""
    body, labels, width, cut = _offered(data)
    expected = twins.plain([body], width, labels)
    outcome = twins.compiled(_cut(body, cut), width, labels, batch_size=1)
    assert repr(outcome) == repr(expected), f"{outcome} differs from {expected}"


def request(data: bytes) -> None:
    """The records of a request, whose rows have names."""
    body, _, width, _ = _offered(data)
    try:
        batch, uids, metadatas = decode_rows(body, feature_dim=width)
    except DataError as error:
        _check_sentence(error)
        return
    _check(batch, width)
    assert len(uids) == len(metadatas) == batch.n_rows


def streams(data: bytes) -> None:
    """Compressed and wrapped streams: what comes out, or that nothing does, does not depend on the cuts."""
    body, _, _, cut = _offered(data)
    assert _came_out([body]) == _came_out(_cut(body, cut))


def _came_out(chunks: list[bytes]) -> bytes | None:
    try:
        return b"".join(unwrap(decompressed(iter(chunks), "source", 1 << 12)))
    except DataError as error:
        _check_sentence(error)
        return None


def _served(media_type: str):
    decode = DECODERS[media_type]

    def target(data: bytes) -> None:
        body, _, width, _ = _offered(data)
        try:
            parts = list(decode(body, width))
        except DataError as error:
            _check_sentence(error)
            return
        for part in parts:
            match part:
                case Rows():
                    _check(part.batch, width)
                case Wishes():
                    assert part.instances
                case _:
                    for ranking in part:
                        _check(ranking.context, width)
                        _check(ranking.candidates, width)
                        assert ranking.context.n_rows == 1
                        assert ranking.top_k is None or ranking.top_k > 0

    target.__doc__ = f"The body of a request of {media_type}, as `serve` reads it."
    return target


#: name: what takes the bytes. Of the media types the name is what follows the slash.
TARGETS = (
    {
        "records": _training(read_batches),
        "libsvm_lines": _training(FORMATS["libsvm"].functions.read_batches),
        "csv_lines": _training(FORMATS["csv"].functions.read_batches),
        "twins": twin_readers,
        "request": request,
        "streams": streams,
    }
    | {name.partition("/")[2]: _served(name) for name in DECODERS}
    | FILE_TARGETS
)


def _offered(data: bytes) -> tuple[bytes, str, int, int]:
    how = data[-1] if data else 0
    return data[:-1], LABELS[how & 3], WIDTHS[how >> 2 & 1], how >> 3


def _cut(body: bytes, cut: int) -> list[bytes]:
    """Whole, or in pieces of `cut` bytes."""
    return [body[at : at + cut] for at in range(0, len(body), cut)] if cut else [body]


def _check(batch: Batch, width: int) -> None:
    assert batch.feature_dim == width
    Batch(width, batch.values, batch.indptr, batch.indices, batch.labels)  # checks what `trusted` did not


def _check_sentence(error: DataError) -> None:
    text = str(error)
    assert text, "an empty sentence"
    assert "\n" not in text, f"a sentence of several lines: {text!r}"
    assert len(text) <= 1000, f"a sentence of {len(text)} characters: {text[:100]!r}..."


# --- where the search begins ---------------------------------------------------------------------

TEXTS = {
    "libsvm_lines": [
        b"1 0:1 3:0.5 # comment\n\n0 9:1 2:3\r\n1\n0 2:1e-3 2:1e-45 1:-.5e+1",
        b"1 0:1e38 0:3e38\n+1 10:1\n2 1:1\nnan 1:1\n1 qid:3 1:2\n",
        b"1 99999999999999999999:1 1_0:1 -1:1 :: 1:nan 1:0x1 1:1e999 5:123456789012345678901234567890\n\0",
    ],
    "csv_lines": [
        b"1,1,0,0,2.5,0,0,0,0,0,-1e3\r\n\n0,1,2,3,4,5,6,7,8,9,10\n",
        b"1,1,0,0,2.5,0,0,0,0,0,1e-3\n1,2\n0, 1 ,2\t,+3,-4.,.5,6e0,7E-1,8,9,10",
        b'label,a,b\n"1",nan,inf,-1e39,0x10,1_0,,#,1e,+.5,123456789012345678901234567890,1e-400\n',
    ],
    "json": [
        b'{"instances":[{"features":[1,0,0,2.5,0,0,0,0,0,-1e3]}]}',
        b'{"instances":[{"data":{"features":{"keys":[3,1,3],"shape":[10],"values":[1,2,0.5]}}}],"configuration":{}}',
        b'{"instances":[{"data":{"features":{"values":[0,1,2,3,4,5,6,7,8,9]}}}]}',
        b'{"instances":[{"keys":[],"values":[],"shape":[10]},{"features":{"keys":[9],"values":[1e39]}}]}',
        b'{"instances":[{"features":[1,0,0,2.5,0,0,0,0,0,-1e3],"explain":2},{"keys":[1],"values":[2],"explain":true}]}',
        b'{"instances":[{"context":{"keys":[1],"values":[1]},"candidates":[{"keys":[2],"values":[1]}],"top_k":1}]}',
        b'{"instances":[{"keys":[18446744073709551616,-1,true,null],"values":["1",NaN,[],{}]}]}',
    ],
    "jsonlines": [
        b'{"features":[1,0,0,2.5,0,0,0,0,0,-1e3]}\n\n{"keys":[3],"values":[1]}\n',
        b'{"context":{"keys":[1],"values":[1]},"candidates":[]}\n{"context":{},"candidates":{},"top_k":0}',
    ],
    "csv": [
        b"1,0,0,2.5,0,0,0,0,0,-1e3\r\n\n1,2,3,4,5,6,7,8,9,10\n",
        b"nan,inf,-1e39,0x10,1_0, 1 ,'1',#,1e,+.5",
        b"1,2\n1,2,3",
    ],
    "libsvm": [
        b"1 0:1 3:0.5 # comment\n\n-1 9:1 2:3\n",
        b"0:1 0:1e38 0:3e38\n+1 10:1\n",
        b"qid:1 1:2 99999999999999999999:1 1_0:1 -1:1 :: 1:nan",
    ],
}


def seeds(target: str) -> list[bytes]:
    """Inputs to begin with: the golden records, or texts, each offered in several ways."""
    if target in FILE_TARGETS:
        return file_seeds(target)
    golden = [path.read_bytes() for path in sorted((GOLDEN / "records").glob("*/*.rec"))]
    # Keys up to the last byte there is, where reading eight at a time could go too far.
    for n in range(1, 20):
        payload = wire.label(1.0) + wire.features([1.0] * n, range(0, 16 * n, 16))
        golden.append(wire.MAGIC + struct.pack("<I", len(payload)) + payload)
    # So many keys out of order that the place where they are sorted has to grow.
    golden += [wire.frame(wire.features([1] * n, [7, 3] * (n // 2), member=wire.INT32)) for n in (48, 400, 700)]
    bodies = TEXTS.get(target, golden)
    if target == "streams":
        whole = b"".join(golden[:3])
        bodies = [*golden, frame(whole), frame(whole) + frame(whole), gzip.compress(whole, mtime=0),
                  gzip.compress(frame(whole), mtime=0) + b"\0" * 5 + gzip.compress(whole, 0, mtime=0),
                  gzip.compress(bytes(1 << 15), mtime=0), gzip.compress(whole, mtime=0)[:-9],
                  struct.pack("<II", 0xCED7230A, 1 << 29) + frame(b"")]  # fmt: skip
    return [body + bytes([how]) for body in bodies for how in (1, 2 | 7 << 3)]
