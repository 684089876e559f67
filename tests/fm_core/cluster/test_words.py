"""What hosts say to each other, read as if anybody had said it."""

import json
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.cluster.awake import AwakeClock
from fm_core.cluster.board import Board
from fm_core.cluster.listening import interface_address, listening
from fm_core.cluster.steps import StepPlanner
from fm_core.cluster.words import Answer, Notice, Said, answer_of, answer_text, notice_of, notice_text
from fm_core.errors import ProcessGroupError
from fm_core.hyperparameters import Hyperparameters
from tests.contract.serving import free_port
from tests.fm_core.cluster.members import together
from tests.fm_core.test_printable import ATTACKS, is_harmless

NOTICES = [
    Notice(0, "p"),
    Notice(3, "p", {"hosts": ["a", "b"], "factors_lr": 0.5, "shuffle": False}, is_ready=True, stops=True),
    Notice(
        1, "p", said=Said("host algo-2 failed: ClientError: x", "ClientError"), put={"rows/1": "eA=="}, wants="rows/"
    ),
]
ANSWERS = [
    Answer(True, False, False, False, [], None, {}),
    Answer(False, False, True, True, [1, 2], Said("a"), {"rows/1": "eA=="}),
]


@pytest.mark.parametrize("said", [*NOTICES, *ANSWERS])
def test_a_word_is_read_as_it_was_written(said):
    write, read = (notice_text, notice_of) if isinstance(said, Notice) else (answer_text, answer_of)
    line = write(said)
    assert line.count(b"\n") == 1
    assert read(line) == said


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_word_is_harmless(attack):
    line = notice_text(Notice(1, "p", said=Said(attack, "ClientError")))
    assert is_harmless(notice_of(line).said.sentence)


def changed(**fields):
    """A notice that no host writes."""
    return json.dumps(Notice(1, "p")._asdict() | fields).encode()


MALFORMED = [
    b"", b"{garbage", b"\xff", b"[]", b"1", b"null", b"{}", b"[" * 100_000,
    *(changed(said=said) for said in ([1, None], ["a"], "a", ["a", "x"], ["a", ["ClientError"]], {"sentence": "a"})),
    *(changed(rank=rank) for rank in (-1, 1.5, True, None, "1")), changed(process=""), changed(process="a" * 101),
    changed(facts=[]), changed(stops=1), changed(is_ready=None), changed(wants=None), changed(put=[]),
    changed(put={"a": 1}), changed(put={"a": "a" * 5000}), changed(more=1), changed(said=["a" * (2 << 20), None]),
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_what_no_host_writes_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        notice_of(text)


KEYS = st.sampled_from([*Notice._fields, *Answer._fields, "x"])


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
).map(lambda document: json.dumps(document).encode()))  # fmt: skip
def test_any_bytes_are_a_word_or_refused(text):
    for read in (notice_of, answer_of):
        try:
            found = read(text)
        except ValueError:
            continue
        assert isinstance(found, Notice | Answer)


@pytest.mark.parametrize("forged", [[-1, 0], [4, 0], [2**40, 0]])
def test_a_number_of_rows_that_are_not_there_is_refused(forged):
    """A host that runs another program, and asks for more rows than there are."""
    hp = Hyperparameters(feature_dim=6, num_factors=2, predictor_type="regressor")

    def task(member):
        if member.rank == 1:
            facts = np.zeros(4 + 2 * 2, np.int64)
            facts[4:6] = forged
            member.keys.all_gather(facts)
            return
        with pytest.raises(ProcessGroupError, match="another host requested features out of range"):
            next(StepPlanner(member, hp, lambda: False)(iter([_rows(hp)])))

    together(2, task)


@pytest.mark.parametrize("forged", [[-1], [3], [2**31 - 1]])
def test_a_row_that_is_not_there_is_refused(forged):
    hp = Hyperparameters(feature_dim=6, num_factors=2, predictor_type="regressor")

    def task(member):
        if member.rank == 1:
            facts = np.zeros(4 + 2 * 2, np.int64)
            facts[4:6] = [1, 0]
            wanted = member.keys.all_gather(facts)[:, 5]
            member.keys.all_to_all(np.array(forged, np.int32), [1, 0], wanted)
            return
        with pytest.raises(ProcessGroupError, match="another host requested features out of range"):
            next(StepPlanner(member, hp, lambda: False)(iter([_rows(hp)])))

    together(2, task)


@pytest.mark.parametrize(
    ("n_entries", "dealt"), [(-1, []), (2**40, []), (1, [4, 0, 0]), (1, [2, 3, 0]), (1, [2, -1, 0]), (0, [-2])]
)
def test_entries_that_are_not_there_are_refused(n_entries, dealt, monkeypatch):
    """A host that runs another program, and sends other entries than it told of, or those of features that nobody "
    "has."""
    monkeypatch.setattr("fm_core.cluster.steps.is_shorter", lambda *given: True)
    hp = Hyperparameters(feature_dim=6, num_factors=2, predictor_type="regressor")

    def task(member):
        if member.rank == 1:
            facts = np.array([1, 0, 0, 0, 0, 0, n_entries, 0], np.int64)
            table = member.keys.all_gather(facts)
            if dealt:
                by = table[:, 0] + 2 * table[:, 7]
                member.keys.all_to_all(np.array([*dealt, 0], np.int32), [len(dealt), 1], by)
            return
        with pytest.raises(ProcessGroupError, match=r"(it runs|they run) another program"):
            next(StepPlanner(member, hp, lambda: False, sums=True)(iter([_rows(hp)])))

    together(2, task)


def _rows(hp):
    from fm_core.batch import Batch

    labels = np.zeros(1, np.float32)
    return Batch(hp.feature_dim, np.ones(2, np.float32), np.array([0, 2]), np.array([0, 3], np.int32), labels)


# --- where the first host listens -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "interface", "address"),
    [
        ("127.0.0.1", "lo", "127.0.0.1"),
        ("no.such.host.invalid", "lo", "127.0.0.1"),
        ("127.0.0.1", None, "0.0.0.0"),
        ("127.0.0.1", "absent0", "0.0.0.0"),
    ],
)
def test_the_first_host_listens_on_the_jobs_interface_alone(name, interface, address):
    port = free_port()
    found = listening(name, port, interface)
    with socket.socket(fileno=found.descriptor) as server:
        assert server.getsockname() == (address, port)
        with socket.create_connection((found.address, port)):
            pass
        with pytest.raises(OSError, match="in use"):
            listening(name, port, interface)


def test_the_address_of_an_interface():
    assert interface_address("lo") == "127.0.0.1"
    assert interface_address("absent0") is None
    assert interface_address("x" * 300) is None


def told_of(value):
    """What becomes of a job one of whose hosts has such a value, and the memory that takes; None: it is not read."""
    board = Board(("a", "b"), AwakeClock(), wait=60.0)
    assert board.take(Notice(0, "p", {"factors_lr": 0.5})).verdict is None
    line = notice_text(Notice(1, "q", {"factors_lr": 0})).replace(b'"factors_lr": 0', b'"factors_lr": ' + value)
    try:
        notice = notice_of(line)
    except ValueError:
        return None
    tracemalloc.start()
    try:
        return board.take(notice).verdict.sentence, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_facts_of_any_shape_end_a_job_in_a_sentence():
    depths = [300, *range(960, 1001)]
    values = [b"[" * n + b"]" * n for n in depths] + [
        b'"' + b"x" * 500_000 + b'"', b"[" + b"1," * 300_000 + b"1]", b'{"a": [' + b'{"b": ""},' * 50_000 + b"0]}",
        b'["' + b"x" * 500_000 + b'"]', b'{"' + b"x" * 500_000 + b'": 1}', b"9" * 4000, b"NaN", b"-Infinity",
    ]  # fmt: skip
    with ThreadPoolExecutor(1) as thread:  # where the stack is as low as a board's
        told = [each for each in thread.map(told_of, values) if each is not None]
    assert len(told) > 20
    for sentence, memory in told:
        assert sentence.startswith("hosts b and a disagree: factors_lr is ")
        assert is_harmless(sentence)
        assert len(sentence) < 1000
        assert memory < 200_000  # no more of a value is written out than is shown
