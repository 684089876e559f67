"""The compiled parsers of text beside Python's own: csv, float(), split()."""

import csv
import decimal
import enum
import io
import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.errors import DataError
from fm_core.formats.text.faults import TextFault
from fm_core.formats.text.parse import cell_blocks, libsvm_blocks
from tests.conftest import ROOT

#: Cells with everything that a reader of CSV stumbles on.
CELLS = st.text(st.sampled_from('ab,;"\n\r\t 0.1é|'), max_size=5)


def written(rows, delimiter=","):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue().encode()


def pieces(data, places):
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(bounds)]


def cells_of(chunks, **options):
    blocks = list(cell_blocks("x.csv", chunks, **options))
    return [
        [block.text(row, column).decode() for column in range(block.n_columns)]
        for block in blocks
        for row in range(block.n_rows)
    ]


def test_the_faults_have_the_numbers_of_the_compiled_module():
    text = (ROOT / "fm_core/formats/text/_text.pyx").read_text()
    (body,) = re.findall(r"cdef enum Fault:\n(.*?)\n\n", text, re.DOTALL)
    compiled = {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", body)}
    assert compiled == {"FINE": 0} | {fault.name: int(fault) for fault in TextFault}
    assert issubclass(TextFault, enum.IntEnum)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1)),
       st.sampled_from(",;\t"), st.lists(st.integers(0, 1000), max_size=6))  # fmt: skip
def test_what_pythons_csv_writes_is_read_however_it_is_cut(rows, delimiter, places):
    assert cells_of(pieces(written(rows, delimiter), places), delimiter=delimiter) == rows


@given(st.binary(max_size=60).map(lambda data: data.replace(b"\0", b"")), st.lists(st.integers(0, 1000), max_size=4))
def test_any_bytes_are_read_or_refused_alike_however_they_are_cut(data, places):
    def outcome(chunks, read):
        try:
            return sum(block.n_rows for block in read(chunks))
        except DataError as error:
            return str(error)

    for read in (
        lambda chunks: cell_blocks("x", chunks),
        lambda chunks: libsvm_blocks("x", chunks, feature_dim=3),
    ):
        whole = outcome([data], read)
        assert outcome(pieces(data, places), read) == whole
        assert outcome([bytes([byte]) for byte in data], read) == whole


def _near_a_tie(drawn):
    number, digits, up = drawn
    number = np.float32(number)
    middle = (Fraction(float(number)) + Fraction(float(np.nextafter(number, np.float32(np.inf))))) / 2
    with decimal.localcontext(prec=200):
        exact = decimal.Decimal(middle.numerator) / decimal.Decimal(middle.denominator)
        text = format(exact, "f")
    whole, _, part = text.partition(".")
    return f"{whole}.{part}{digits}" if up else f"{whole}.{part[:17]}"


NUMBER_TEXTS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda number: str(np.float32(number))),
    st.integers(-(10**25), 10**25).map(str),
    st.from_regex(r"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.text(st.sampled_from("0123456789.eE+-_xnaif "), min_size=1, max_size=8),
)


@given(st.lists(NUMBER_TEXTS, min_size=1))
def test_numbers_are_those_of_float_as_float32(texts):
    (block,) = cell_blocks("x", ["".join(f'"{text}"\n' for text in texts).encode()])
    numbers, n_wrong = block.numbers([0])
    expected = np.array([_float32(text) for text in texts], np.float32)
    np.testing.assert_array_equal(numbers[:, 0], expected)
    assert n_wrong == np.isnan(expected).sum()


#: Numbers in the middle between two of float32, and as near to it as double and more digits come.
TIES = st.tuples(
    st.floats(2**-120, 2**120, width=32), st.sampled_from(["", "0", "00000000000000000001", "9"]), st.booleans()
).map(_near_a_tie)
KEY_TEXTS = st.one_of(st.integers(0, 10**9).map(str), st.from_regex(r"[0-9]{1,22}", fullmatch=True), st.just("x"))


@given(st.lists(st.tuples(KEY_TEXTS, st.one_of(NUMBER_TEXTS, TIES)), min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_pairs_are_the_same_numbers_wherever_they_stand(pairs, first_key):
    texts = [(key, value) for key, value in pairs if " " not in value]
    outcomes = []
    for behind in (b"", b" # " + b"x" * 100, b"\n" * 80):  # what is near the end is read more slowly
        data = b"1 " + " ".join(f"{key}:{value}" for key, value in texts).encode() + behind
        try:
            (block,) = libsvm_blocks("x", [data], feature_dim=2**30, first_key=first_key)
            outcomes.append((block.indices.tolist(), block.values.tobytes()))
        except DataError as error:
            outcomes.append(str(error))
    assert outcomes[1:] == outcomes[:1] * 2
    numbers = [_float32(value) for _, value in texts]
    if not isinstance(outcomes[0], str):
        assert outcomes[0] == ([int(key) - first_key for key, _ in texts], np.array(numbers, np.float32).tobytes())
    elif all(np.isfinite(numbers)):
        assert any(not (key.isdecimal() and first_key <= int(key) < 2**30 + first_key) for key, _ in texts)


def _float32(text):
    """As float() has it, but for what only Python calls a number."""
    try:
        with np.errstate(over="ignore"):
            number = np.float32(float(text))
    except ValueError:
        return np.nan
    return number if np.isfinite(number) and "_" not in text else np.nan


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False),
                          st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1.0, -0.5, 1e-30])), max_size=6))),
       st.lists(st.integers(0, 1000), max_size=6), st.sampled_from([0, 1]))  # fmt: skip
def test_libsvm_lines_are_read_however_they_are_cut(rows, places, first_key):
    text = "".join(
        f"{label!r} {' '.join(f'{key + first_key}:{value!r}' for key, value in pairs)}\n" for label, pairs in rows
    ).encode()
    blocks = list(libsvm_blocks("x", pieces(text, places), feature_dim=10, first_key=first_key))
    found = [
        (block.labels[i], list(zip(block.indices[slice(*block.indptr[i : i + 2])].tolist(),
                                   block.values[slice(*block.indptr[i : i + 2])].tolist(), strict=True)))
        for block in blocks
        for i in range(block.n_rows)
    ]  # fmt: skip
    assert found == [
        (np.float32(label), [(key, float(np.float32(value))) for key, value in pairs]) for label, pairs in rows
    ]
    for block in blocks:
        starts = block.indptr[1:-1]
        rising = np.diff(block.indices) > 0
        rising[starts[(starts > 0) & (starts < len(block.indices))] - 1] = True
        assert block.ascending == rising.all()


@pytest.mark.parametrize(("first_line", "has"), [(b"1 0:1", True), (b"0:1", False)])
def test_the_first_line_decides_whether_optional_labels_are_there(first_line, has):
    data = first_line + b"\n" + (b"0 " if has else b"") + b"2:1\n"
    for chunks in ([data], [data[:7], data[7:]]):
        blocks = list(libsvm_blocks("x", chunks, feature_dim=3, labels="optional"))
        assert {block.labels is not None for block in blocks} == {has}
        assert sum(block.n_rows for block in blocks) == 2


@pytest.mark.parametrize("labels", ["real", "optional"])
def test_a_label_that_is_missing_further_down_is_refused(labels):
    with pytest.raises(DataError, match=r"^x: line 2: found '1:1' where the label stands"):
        list(libsvm_blocks("x", [b"1 0:1\n1:1\n"], feature_dim=3, labels=labels))


def test_a_row_that_never_ends_is_refused():
    with pytest.raises(DataError, match=r"^x: line 2: the row that begins here is longer than 1000 bytes"):
        list(cell_blocks("x", [b'a\n"', *[b"b" * 100] * 20, b'"'], longest_row=1000))


def test_lines_are_those_of_an_editor():
    data = b'a,b\n\n"1\n2",3\r\n  \n4\n'
    with pytest.raises(DataError, match=r"^x: line 6: found 1 columns, expected 2 as in the first row"):
        list(cell_blocks("x", [data]))
    (block,) = cell_blocks("x", [data[:-2]])
    assert block.lines.tolist() == [1, 3]
