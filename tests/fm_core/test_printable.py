"""Text from outside becomes one harmless line."""

import json
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core import errors
from fm_core.printable import begun, printable, quoted
from tests.conftest import ROOT

DEFINITIONS = [
    re.compile(definition["Regex"]) for definition in json.loads((ROOT / "docs/metric_definitions.json").read_text())
]
FORGED = "#quality_metric: host=algo-1, test rmse <loss>=0.0"
ATTACKS = [
    FORGED,
    f"a\n{FORGED}",
    f"a\r{FORGED}",
    f"a\u2028{FORGED}\x85{FORGED}",
    "\x1b]0;pwned\x07\x1b[2J",
    "\u202egnp.exe",
    "a\x00b\x7f\x9b",
    "\ud800",
    "#metrics {}",
    "#test_score (algo-1) : ('rmse', 0.0)",
    "#progress_metric: host=algo-1, completed 100 % of epochs",
    "## #quality_metric: host=a, epoch=1, validation mse <loss>=1",
]


def is_harmless(text):
    return text.isprintable() and not any(definition.search(text) for definition in DEFINITIONS)


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks_are_shown_harmless(text):
    assert is_harmless(printable(text))
    assert is_harmless(quoted(text))
    assert not re.search("#(quality_metric|metrics|test_score|progress_metric)", printable(text) + quoted(text))


@pytest.mark.parametrize("text", [*ATTACKS, "a" * 10**5, "\n" * 10**4])
@pytest.mark.parametrize("kind", [each for each in vars(errors).values() if isinstance(each, type)])
def test_an_error_is_one_harmless_line_whatever_its_sentence_names(kind, text):
    """Sentences name columns, files and hosts, and not every one of them asks the filter."""
    error = kind(f"train.csv: found column {text}, expected another")
    for shown in (str(error), f"{error}", str(pickle.loads(pickle.dumps(error)))):
        assert is_harmless(shown)
        assert shown.startswith("train.csv: found column ")
        assert len(shown) <= 10_000


@given(st.lists(st.text() | st.sampled_from([*ATTACKS, "#quality", "_metric: host=", "#", "<loss", ">="])))
def test_nothing_put_together_is_a_metric_or_more_than_a_line(pieces):
    for text in (printable("".join(pieces)), quoted("".join(pieces), 10**6)):
        assert is_harmless(text)
        assert len(text.splitlines()) <= 1


@given(st.text(), st.integers(2, 50))
def test_lengths_are_bounded(text, most):
    assert len(printable(text, most)) <= 12 * most  # an escape has at most ten characters
    assert len(quoted(text, most)) <= 12 * most


@pytest.mark.parametrize("text", ["", "plain", "Ärger, 日本語, spaces", "a/b.csv", "x <y> & #1 =2", "u=ann", "😀"])
def test_ordinary_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "'a'"),
        ("a\nb", r"'a\nb'"),
        ("x" * 100, "'" + "x" * 59 + "'…"),
        (b"\xff\x00", r"b'\xff\x00'"),
        (12, "12"),
        (10**100, "1" + "0" * 58 + "…"),
        ({"a": [1]}, "dict of 1"),
        ([1, 2], "list of 2"),
        (None, "None"),
    ],
)
def test_values_are_quoted_as_python_writes_them(value, shown):
    assert quoted(value) == shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.integers(1, 60))
def test_the_beginning_of_a_value_is_bounded_and_true(value, most):
    shown = begun(value, most)
    assert len(shown) <= most
    whole = value if isinstance(value, str) else repr(value)
    if "\\" not in whole and "'" not in whole and '"' not in whole:
        assert whole.startswith(shown.rstrip("}].")) or "..." in shown


def nested(depth, kind):
    value = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_no_depth_and_no_length_is_too_much_to_begin_with(kind):
    assert len(begun(nested(100_000, kind))) <= 40
    assert begun(list(range(10**6)), 12) == "[0, 1, 2, 3,"
    assert begun([10**5000]).startswith("[an integer of 16610 bits")
