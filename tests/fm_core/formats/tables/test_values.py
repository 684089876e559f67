"""The one form of a value: its rules, and what is compiled beside what is plain."""

import datetime
import decimal
import uuid
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fm_core.formats.tables._values import cell_codes, cell_hashes, settle
from fm_core.formats.tables.values import (
    MISSING,
    ValueFault,
    canonical,
    canonical_cells,
    canonical_texts,
    is_missing,
    number_of,
    text_codes,
    text_of,
    texts_of,
)

FORMS = {
    "17": "17", "17.0": "17", "17.": "17", "1.7e1": "17", "1.50": "1.5", ".5": "0.5", "-.50": "-0.5", "0.0": "0",
    "-0": "0", "-0.0": "0", "1e5": "100000", "1E+5": "100000", "1e-3": "0.001", "0.10": "0.1", "1e0": "1",
    "12345678901234567890123": "12345678901234567890123", "1e300": "1e300", "1.20e300": "1.2e300", "-5e-300": "-5e-300",
    # What no number is written like is a text.
    "007": "007", "+7": "+7", "-": "-", ".": ".", "1_000": "1_000", "0x10": "0x10", "1,5": "1,5", "inf": "inf",
    "1.2.3": "1.2.3", "e5": "e5", "1e": "1e", "--1": "--1", "00.5": "00.5", "\u0661": "\u0661", "12abc": "12abc",
    # Words.
    "true": "true", "True": "true", "FALSE": "false", "tRUE": "tRUE", "yes": "yes",
    # Dates and times.
    "2024-01-31": "2024-01-31", "2024-01-31 00:00:00": "2024-01-31", "2024-01-31T00:00": "2024-01-31",
    "2024-01-31 12:30": "2024-01-31T12:30:00", "2024-01-31T12:30:00.500": "2024-01-31T12:30:00.5",
    "2024-01-31 12:30:00+00:00": "2024-01-31T12:30:00Z", "2024-01-31T12:30:00 UTC": "2024-01-31T12:30:00Z",
    "2024-01-31T01:30:00+02:00": "2024-01-30T23:30:00Z", "2024-01-31 00:00:00Z": "2024-01-31T00:00:00Z",
    "2024-01-31T12:30:00.123456789": "2024-01-31T12:30:00.123456789", "12:30:00.50": "12:30:00.5",
    "2024-13-31 12:30": "2024-13-31 12:30", "2024-01-31 25:00": "2024-01-31 25:00", "12:30": "12:30",
    "0001-01-01T00:00:00+14:00": "0000-12-31T10:00:00Z", "10000-01-01T01:59:59.000000Z": "10000-01-01T01:59:59Z",
    # Blanks around.
    " ann\t": "ann", "\r\n": "", " 17.0 ": "17", "a b": "a b", "\u00a0x": "\u00a0x", "": "",
}  # fmt: skip


@pytest.mark.parametrize("text", FORMS)
def test_a_text_has_one_form(text):
    assert canonical(text) == FORMS[text]


@pytest.mark.parametrize("text", sorted(MISSING))
def test_a_text_that_stands_for_nothing_is_missing_whatever_brings_it(text):
    assert canonical(f" {text} ") == text_of(text) == ""
    assert is_missing(text)
    assert number_of(text) != number_of(text)


TEXTS = st.one_of(
    st.text("0123456789.-+eE", max_size=12), st.text("0123456789-T:. Z+UC", max_size=30),
    st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(MISSING)), st.text(max_size=12),
    st.floats().map(str), st.datetimes().map(str),
    st.integers().map(str), st.decimals(allow_nan=False).map(str),
)  # fmt: skip


@given(TEXTS)
@example("0" * 41)
@example("1." + "0" * 60)
def test_the_one_form_has_itself_as_form_and_the_value_of_the_text(text):
    form = canonical(text)
    assert canonical(form) == form
    if form and text.strip().isascii() and number_of(form) == number_of(form):
        assert number_of(text) == number_of(form)


def cells(texts):
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    bounds = np.stack([ends - [len(text) for text in texts], ends], axis=1).astype(np.int32).reshape(-1, 2)
    return b"".join(texts), bounds


@given(st.lists(TEXTS.map(lambda text: text.encode(errors="replace")), max_size=20))
def test_cells_have_the_form_that_texts_have(texts):
    data, bounds = canonical_cells(*cells(texts))
    found = [bytes(data[start:end]).decode() for start, end in bounds]
    assert found == [canonical(text.decode()) for text in texts]
    assert canonical_texts([text.decode() for text in texts]) == found


@given(TEXTS)
def test_a_cell_that_is_settled_needs_no_other_form(text):
    encoded = text.encode(errors="replace")
    bounds, pending = settle(*cells([encoded]))
    start, end = bounds[0]
    if not len(pending):
        assert encoded[start:end].decode() == canonical(encoded.decode())


def test_names_and_short_numbers_are_settled_at_once():
    texts = [
        b"ann",
        b"New York",
        b"none",
        b"true north",
        b"17",
        b"-3",
        b"0.25",
        b"2024-01-31",
        b"68fd1e6k",
        "é".encode(),
    ]
    assert not len(settle(*cells(texts))[1])


def test_cells_that_do_not_lie_in_the_data_are_nothing_or_refused():
    for bounds in ([[0, 9]], [[-1, 2]], [[2, 1]]):
        wrong = np.array(bounds, np.int32)
        assert settle(b"abc", wrong)[0].tolist() == [[0, 0]]
        for function in (cell_codes, cell_hashes):
            with pytest.raises(ValueError, match="cell 0 does not lie in the 3 bytes"):
                function(b"abc", wrong)
    for function in (settle, cell_codes, cell_hashes):
        with pytest.raises(ValueError, match="bounds have 3 columns, expected 2"):
            function(b"abc", np.zeros((1, 3), np.int32))


@given(st.lists(st.binary(max_size=9)))
def test_hashes_are_those_of_zlib_and_codes_those_of_a_dict(texts):
    data, bounds = cells(texts)
    assert cell_hashes(data, bounds).tolist() == [zlib.crc32(text) if text else -1 for text in texts]
    codes, found = cell_codes(data, bounds)
    assert [found[code] for code in codes] == texts
    assert found == list(dict.fromkeys(texts))


VALUES = {
    "an integer": (17, "17"), "a float": (17.0, "17"), "a fraction": (0.1, "0.1"), "float32": (np.float32(0.1), "0.1"),
    "float16": (np.float16(0.1), "0.1"), "int64": (np.int64(-3), "-3"), "a large float": (1e22, "1" + "0" * 22),
    "bool": (True, "true"), "np.bool": (np.bool_(False), "false"), "Decimal": (decimal.Decimal("1.50"), "1.5"),
    "date": (datetime.date(2024, 1, 31), "2024-01-31"), "midnight": (datetime.datetime(2024, 1, 31), "2024-01-31"),
    "a moment": (datetime.datetime(2024, 1, 31, 12, 30, 0, 500000), "2024-01-31T12:30:00.5"),
    "a moment with a zone": (
        datetime.datetime(2024, 1, 31, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        "2024-01-31T11:00:00Z",
    ),
    "a time of day": (datetime.time(12, 30, 0, 500000), "12:30:00.5"), "bytes": (b" ann", "ann"),
    "datetime64[D]": (np.datetime64("2024-01-31"), "2024-01-31"),
    "datetime64[h]": (np.datetime64("2024-01-31T12", "h"), "2024-01-31T12:00:00"),
    "datetime64[ns]": (np.datetime64("2024-01-31T12:30:00.5", "ns"), "2024-01-31T12:30:00.5"),
    "None": (None, ""), "NaN": (float("nan"), ""), "NaT": (np.datetime64("NaT"), ""), "a word": ("None", ""),
    "Decimal NaN": (decimal.Decimal("NaN"), ""), "UUID": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "str_": (np.str_("17.0"), "17"),
}  # fmt: skip


@pytest.mark.parametrize("what", VALUES)
def test_a_value_has_one_text(what):
    value, text = VALUES[what]
    assert text_of(value) == text
    assert is_missing(value) == (text == "")


@pytest.mark.parametrize(
    "value", [[1], (1,), {}, np.zeros(2), datetime.timedelta(1), np.timedelta64(1, "s"), object(), 1j, {1}, type]
)
def test_what_is_no_value_is_refused_with_its_row(value):
    with pytest.raises(TypeError, match=r"^found a"):
        text_of(value)
    with pytest.raises(ValueFault, match=r"^found a") as caught:
        text_codes(["x", value])
    assert caught.value.row == 1
    is_span = isinstance(value, datetime.timedelta | np.timedelta64)
    assert (
        number_of(value) == {datetime.timedelta: 86_400, np.timedelta64: 1}[type(value)]
        if is_span
        else (number_of(value) != number_of(value))
    )


def test_bytes_that_are_no_text_are_refused_with_their_row():
    with pytest.raises(ValueFault, match="not UTF-8") as caught:
        text_codes([b"a", b"a", b"\xff"])
    assert caught.value.row == 2


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1), (np.bool_(False), 0), ("true", 1), (" 17.50 ", 17.5), ("1e2", 100), (b"3", 3), ("+7", 7), ("007", 7),
        (decimal.Decimal("0.1"), 0.1), (np.float32(0.1), float(np.float32(0.1))), (10**400, np.inf),
    ],
)  # fmt: skip
def test_a_value_has_one_number(value, number):
    assert number_of(value) == pytest.approx(number, rel=1e-7)


@pytest.mark.parametrize("value", ["ann", "0x10", "1_0", "", None, "inf", np.datetime64("2024-01-01"), "\u0661"])
def test_what_is_no_number_is_none(value):
    assert np.isnan(number_of(value))


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "é\udc80"])
@pytest.mark.parametrize("as_they_stand", [False, True])
def test_half_a_surrogate_pair_is_no_text(text, as_they_stand):
    with pytest.raises(ValueFault, match="which is not valid Unicode text: half of a surrogate pair") as caught:
        text_codes(["fine", text], as_they_stand=as_they_stand)
    assert caught.value.row == 1


@given(st.lists(st.one_of(
    st.text(max_size=6), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3),
    st.sampled_from(["NA", " 1.50", "007", "1e400", "2024-01-01 00:00", "\ud800", decimal.Decimal("1.0"), [1]]),
)))  # fmt: skip
def test_many_values_are_the_texts_that_each_is(values):
    def outcome(read):
        try:
            return read()
        except (TypeError, UnicodeDecodeError) as error:
            return repr(error)

    assert outcome(lambda: texts_of(values)) == outcome(lambda: [text_of(value) for value in values])


@pytest.mark.parametrize("value", [decimal.Decimal("nan"), decimal.Decimal("-snan"), decimal.Decimal("snan7")])
def test_decimals_that_are_no_numbers_are_missing(value):
    assert is_missing(value)
    assert text_of(value) == ""
    assert np.isnan(number_of(value))
