"""The table from texts to ids, beside a dict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.formats.tables._columns import Vocabulary, put_entries

# Lengths around 3, 4 and 8 bytes, where texts are kept in other ways; few letters, so that many are equal or alike.
BYTES = st.binary(max_size=20) | st.text("ab", max_size=10).map(str.encode)


def cells(texts):
    ends = np.cumsum([len(text) for text in texts])
    bounds = np.column_stack([ends - [len(text) for text in texts], ends]).astype(np.int32)
    return b"".join(texts), bounds


def slow(known, texts, learn):
    found = []
    for text in texts:
        if not text:
            found.append(-1)
        elif text in known:
            found.append(known[text])
        elif learn:
            found.append(known.setdefault(text, len(known)))
        else:
            found.append(-2)
    return found


@given(st.lists(st.tuples(st.lists(BYTES, min_size=1, max_size=60), st.booleans()), max_size=5))
def test_cells_get_the_ids_that_a_dict_gives_them(steps):
    vocabulary, known = Vocabulary(), {}
    for texts, learn in steps:
        assert vocabulary.find_cells(*cells(texts), learn).tolist() == slow(known, texts, learn)
        assert len(vocabulary) == len(known)


@given(st.lists(st.text(), max_size=50))
def test_texts_come_back_in_their_order(texts):
    vocabulary = Vocabulary()
    known = {}
    assert vocabulary.find(texts, learn=True).tolist() == slow(known, [text.encode() for text in texts], True)
    assert [text.encode() for text in vocabulary.texts()] == list(known)
    again = Vocabulary(vocabulary.texts())
    assert again.find(texts).tolist() == vocabulary.find(texts).tolist()


def test_a_million_texts_keep_their_ids_while_the_table_grows():
    vocabulary = Vocabulary()
    n = 300_000
    texts = [b"%d" % i for i in range(n)] + [b"a long text, of which there are many: %d" % i for i in range(n)]
    assert vocabulary.find_cells(*cells(texts), True).tolist() == list(range(2 * n))
    order = np.random.default_rng(0).permutation(2 * n)
    data, bounds = cells(texts)
    assert np.array_equal(vocabulary.find_cells(data, bounds[order]), order)
    assert vocabulary.find_cells(*cells([b"%d" % n, b"-1", b"0"])).tolist() == [-2, -2, 0]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([b"a", "é".encode()], True),
        ([b"a", b"\xff"], False),
        (["é".encode()[:1], "é".encode()[1:]], False),  # together they would be a character
        ([b"a\xe9"], False),
        ([], True),
    ],
)
def test_texts_that_are_no_utf8_are_found(texts, expected):
    vocabulary = Vocabulary(["x"])
    if texts:
        vocabulary.find_cells(*cells(texts), True)
    assert vocabulary.is_utf8(1) is expected


@pytest.mark.parametrize("texts", [["a", ""], ["a", "b", "a"]])
def test_a_vocabulary_is_made_of_different_texts(texts):
    with pytest.raises(ValueError, match="is empty or there twice"):
        Vocabulary(texts)


def test_entries_stand_behind_each_other_in_the_order_of_columns():
    ends = np.array([0, 3], np.int64)
    indices, values = np.zeros(4, np.int32), np.zeros(4, np.float32)
    put_entries(np.array([2, 0], np.int32), np.array([4, 4], np.int32), None, 10, ends, indices, values)
    put_entries(None, np.array([0, 0], np.int32), np.array([7, 8], np.float32), 20, ends, indices, values)
    assert indices.tolist() == [14, 14, 20, 20]
    assert values.tolist() == [1, 1, 7, 8]
    assert ends.tolist() == [3, 4]
    put_entries(None, np.array([0, -1], np.int32), None, 30, ends, indices, values)  # no room: nothing is written
    assert indices.tolist() == [14, 14, 20, 30]
    for arguments in (
        (None, np.zeros(1, np.int32), None),
        (np.ones(1, np.int32), np.zeros(2, np.int32), None),
        (None, np.zeros(2, np.int32), np.zeros(1, np.float32)),
    ):
        with pytest.raises(ValueError, match=r"is needed"):
            put_entries(*arguments, 0, ends, indices, values)
