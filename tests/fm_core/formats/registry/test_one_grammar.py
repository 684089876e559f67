"""Requests, channels and files read the same text as the same rows, or refuse the same line in the same words."""

import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry import FORMATS
from fm_core.formats.streams import Source

FEATURE_DIM = 50

LIBSVM = {
    "underscores": b"1_0:2_5\n",
    "digits of another script": "\u0661:1\n".encode(),
    "hexadecimal": b"1:0x10\n",
    "a group behind": b"3:1 qid:2\n",
    "a group first": b"qid:7 3:1\n",
    "a group behind the label": b"1 qid:7 3:1\n",
    "a plus": b"+3:1\n",
    "a label with underscores": b"1 0_1:2\n",
    "CSV": b"1,2,3\n",
    "a word": b"hello\n",
    "a label alone": b"1\n",
    "a label that is not finite": b"nan 1:2\n",
    "repeated keys": b"3:1 1:2 3:.5\n",
    "sums beyond float32": b"1:1\n3:3e38 3:3e38\n",
    "a line separator": "1:2\u20283:4\n".encode(),
    "vertical tab": b"1:2\x0b3:4\n",
    "form feed": b"1:2\x0c3:4\n",
    "next line": "1:2\u00853:4\n".encode(),
    "no-break space": "1:2\u00a03:4\n".encode(),
    "a mark": b"\xef\xbb\xbf1:2\n",
    "a mark within": b"1:2\n\xef\xbb\xbf1:2\n",
    "Windows": b"1 1:2\r\n\r\n 2:3 # later\r\n# all\r\n",
    "old Mac": b"1:2\r3:4\r",
    "nothing": b"",
    "blank lines": b"\n \n\t\n",
    "a comment": b"# only\n",
    "a key too high": b"\n1:1\n50:1\n",
    "no last newline": b"1:1\n2:2",
    "a zero byte": b"1:1\n\x00\n",
    "Parquet": b"PAR1" + bytes(20),
    "Latin-1": b"1:1 \xe9\n",
}

CSV = {
    "quotes": b'"1","2"\n',
    "a quoted newline": b'"1\n","2"\n3,x\n',
    "a quote within": b'"1""",2\n',
    "a quote that stays open": b'1,2\n"3,4\n',
    "text behind a quote": b'"1"x,2\n',
    "underscores": b"1_0,2\n",
    "a word": b"1,x\n",
    "a fault behind a blank line": b"1,2\n\n3,y\n",
    "a mark": b"\xef\xbb\xbf1,2\n",
    "blanks": b"1 ,\t2\n",
    "old Mac": b"1,2\r3,4\r",
    "Windows": b"1,2\r\n\r\n3,4\r\n",
    "vertical tab": b"1,2\x0b3,4\n",
    "vertical tab around": b"\x0b1,2\x0c\n",
    "form feed": b"1,2\x0c3,4\n",
    "a line separator": "1,2\u20283,4\n".encode(),
    "next line": "1,2\u0085\n".encode(),
    "no-break space": "1,\u00a02\n".encode(),
    "digits of another script": "\u0661,2\n".encode(),
    "hexadecimal": b"0x1,2\n",
    "not finite": b"1,inf\n",
    "too large": b"1,1e39\n",
    "empty": b"1,\n",
    "too narrow": b"1,2\n3\n",
    "too wide": b"1,2,3\n",
    "a header": b"a,b\n1,2\n",
    "nothing": b"",
    "blank lines": b"\n \n",
    "Latin-1": b"1,\xe9\n",
    "semicolons": b"1;2\n",
    "a zero byte": b"1,2\n\x00,1\n",
    "npz": b"PK\x03\x04" + bytes(20),
    "no last newline": b"1,2\n3,4",
}


def outcome(batches):
    """The rows, or the refusal without the name of what was read."""
    try:
        found = list(batches())
    except DataError as error:
        return str(error)
    batch = Batch.concatenate(found) if found else None
    if batch is None or batch.n_rows == 0:
        return "no rows"
    batch.__post_init__()
    sparse = None if batch.indptr is None else (batch.indptr.tolist(), batch.indices.tolist())
    return sparse, batch.values.tolist()


def of_request(name, body, feature_dim):
    decode = FORMATS[name].functions.decode_request
    return outcome(lambda: [part.batch for part in decode(body, feature_dim=feature_dim)])


def of_channel(name, chunks, feature_dim, labels="none"):
    return outcome(
        lambda: FORMATS[name].functions.read_batches(
            [Source("the body", chunks)], feature_dim=feature_dim, batch_size=3, labels=labels
        )
    )


@pytest.mark.parametrize("case", LIBSVM)
def test_libsvm_is_the_same_in_a_request_and_a_channel(case):
    body = LIBSVM[case]
    found = of_request("libsvm", body, FEATURE_DIM)
    assert found == of_channel("libsvm", [body], FEATURE_DIM)
    assert found == of_channel("libsvm", [body[i : i + 1] for i in range(len(body))], FEATURE_DIM)


def without_hint(found):
    # A channel has no header in any case, a request may say that it has one.
    return found.partition(";")[0] if isinstance(found, str) else found


@pytest.mark.parametrize("case", CSV)
def test_csv_is_the_same_in_a_request_and_a_channel(case):
    body = CSV[case]
    found = without_hint(of_request("csv", body, 2))
    assert found == without_hint(of_channel("csv", [body], 2))
    assert found == without_hint(of_channel("csv", [body[i : i + 1] for i in range(len(body))], 2))


ALPHABET = st.text('0123456789.eE+-:_#, \t\r\n\x0b\x0c"abqid\u2028\u0085\u0661\u00a0\ufeff', max_size=60)
LINES = st.lists(
    st.one_of(
        st.just("1 0:1 3:2.5"), st.just("0:1"), st.just("# no"), st.just(""), st.just("1,2"), st.just('"1",2'), ALPHABET
    ),
    max_size=5,
).map("\n".join)


@given(text=LINES | ALPHABET, cut=st.integers(1, 20))
@pytest.mark.parametrize("name", ["libsvm", "csv"])
def test_any_text_is_the_same_in_a_request_and_a_channel(name, text, cut):
    body = text.encode()
    chunks = [body[i : i + cut] for i in range(0, len(body), cut)]
    found = without_hint(of_request(name, body, 2))
    assert found == without_hint(of_channel(name, chunks, 2))


@given(text=LINES)
def test_lines_of_libsvm_that_a_model_learned_from_are_scored_as_the_same_rows(text):
    learned = of_channel("libsvm", [text.encode()], FEATURE_DIM, "real")
    first = next((line.split() for line in text.splitlines() if line.split("#")[0].strip()), ["0"])[0]
    if not isinstance(learned, str) and ":" not in first:  # label:weight is for training alone
        assert of_request("libsvm", text.encode(), FEATURE_DIM) == learned


def test_lines_are_counted_from_one_with_the_blank_ones():
    assert of_request("libsvm", b"\n1:1\n\n9:x\n", 10).startswith("the body: line 4: '9:x' is not key:value")
    assert of_request("csv", b"\n1,2\n\n3,x\n", 2).startswith("the body: line 4, column 1: found 'x'")
    assert (
        of_request("csv", b"\n1,2\n\n3\n", 2) == "the body: line 4: found 1 columns, expected 2, feature_dim=2 numbers"
    )


def test_a_header_that_the_client_declares_is_no_row_even_if_it_holds_numbers():
    def decode(body, **how):
        parts = FORMATS["csv"].functions.decode_request(body, **how)
        return Batch.concatenate([part.batch for part in parts])

    for body in (b"1,2\n3,4\n", b"a,b\n3,4\n"):
        np.testing.assert_array_equal(decode(body, feature_dim=2, header=True).values, [[3, 4]])
    assert decode(b"1,2\n3,4\n", feature_dim=2, header=False).n_rows == 2
    assert decode(b"1,2\n3,4\n", feature_dim=2).n_rows == 2
    with pytest.raises(DataError, match="line 2: found 3 columns"):
        decode(b"a,b\n3,4,5\n", feature_dim=2, header=True)


def test_a_long_body_is_read_in_pieces_and_numbered_through():
    decode = FORMATS["libsvm"].functions.decode_request
    body = b"3:1 1:2\n\n" * 60_000
    parts = [part.batch for part in decode(body, feature_dim=5)]
    assert len(parts) > 1
    batch = Batch.concatenate(parts)
    assert batch.n_rows == 60_000
    assert batch.indices.tolist() == [1, 3] * 60_000
    with pytest.raises(DataError, match="line 120001: 'x' is not key:value"):
        list(decode(body + b"3:1 x\n", feature_dim=5))
    parts = FORMATS["csv"].functions.decode_request(b"1,2\n" * 200_000, feature_dim=2)
    assert sum(part.batch.n_rows for part in parts) == 200_000


@pytest.mark.parametrize(
    ("name", "body", "feature_dim"),
    [
        ("csv", b"1,2\n" * 250_000, 2),
        ("csv", b"1," * 500_000 + b"1\n", 500_001),
        ("libsvm", b"1\n" * 500_000, 5),
        ("libsvm", b"\n" * 1_000_000, 5),
        ("libsvm", b"3:1 1:2\n" * 100_000, 5),
        ("libsvm", b"1:1 " * 250_000 + b"\n", 5),
    ],
)
def test_the_memory_that_a_body_takes_is_in_proportion(name, body, feature_dim):
    decode = FORMATS[name].functions.decode_request
    tracemalloc.start()
    try:
        for _ in decode(body, feature_dim=feature_dim):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 15 * len(body)
