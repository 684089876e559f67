"""Requests and answers between processes: whole, in order, and never lost in silence."""

import contextlib
import os

import pytest

from container.serving.handover import BODY, Handover, receive
from container.serving.load import Load
from container.serving.spool import LIGHT, Spool
from container.serving.worker import answer
from container.serving.wsgi import Called

ENVIRON = {"REQUEST_METHOD": "POST", "PATH_INFO": "/é", "wsgi.errors": object()}


@pytest.fixture
def handover():
    with contextlib.closing(Handover()) as handover:
        yield handover


def body_of(content):
    body = Spool()
    for at in range(0, len(content), 30_000):
        body.append(content[at : at + 30_000])
    return body


@pytest.mark.parametrize("size", [0, 1, LIGHT, LIGHT + 1, 3_000_000])
def test_a_request_and_its_answer_come_over_whole(handover, size):
    content = os.urandom(size)
    with contextlib.closing(body_of(content)) as body:
        assert (body.descriptor is None) == (size <= LIGHT)
        assert body.size == size
        small = body.content() if body.descriptor is None else b""
        answering = handover.send(ENVIRON, small, body.descriptor)
    task = handover.take(1)
    task.open()
    assert task.environ["PATH_INFO"] == "/é"
    assert "wsgi.errors" not in task.environ
    assert bytes(task.environ[BODY]) == task.environ["wsgi.input"].read() == content
    task.environ["fm.rows"] = 3
    assert task.is_wanted
    task.answer(Called("200 OK", [("A", "b")], content[::-1]))
    task.close()
    with contextlib.closing(answering):
        reply = receive(answering)
    answered = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
    assert (reply.status, reply.headers, answered) == ("200 OK", [("A", "b")], content[::-1])
    assert reply.noted == {"fm.rows": 3}


def test_whoever_waits_learns_that_nobody_will_answer(handover):
    with contextlib.closing(handover.send(ENVIRON, b"", None)) as answering:
        handover.take(1).close()
        assert receive(answering) is None


def test_what_nobody_waits_for_is_not_computed(handover):
    handover.send(ENVIRON, b"", None).close()
    task = handover.take(1)
    assert not task.is_wanted
    answer(lambda environ, start: pytest.fail("computed"), task)
    task.answer(Called("200 OK", [], b"x"))  # who gave up in the midst does no harm either
    task.close()


def test_a_full_queue_is_told(handover):
    waiting = []

    def send_for_ever():
        while True:
            waiting.append(handover.send(ENVIRON, b"x" * LIGHT, None))

    with pytest.raises(BlockingIOError):
        send_for_ever()
    assert waiting
    for answering in waiting:
        answering.close()


def test_nothing_to_do_is_none(handover):
    assert handover.take(0) is None


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory"), OSError(24, "Too many files")])
def test_an_app_without_memory_is_a_507(handover, error):
    def app(environ, start_response):
        raise error

    with contextlib.closing(handover.send(ENVIRON, b"x", None)) as answering:
        with contextlib.closing(handover.take(1)) as task:
            answer(app, task)
        reply = receive(answering)
    assert reply.status == "507 Insufficient Storage"
    assert reply.noted["fm.error"]


def test_load_is_the_sum_of_what_processes_have():
    load = Load(3, most_requests=4, most_bytes=100)
    load.begin(0)
    load.begin(2)
    load.add(0, requests=2, size=60)
    load.add(2, requests=1, size=30)
    assert (load.requests, load.bytes, load.processes) == (3, 90, 2)
    assert load.has_room(10)
    assert not load.has_room(11)
    assert not load.is_full
    load.add(1, requests=1)
    assert load.is_full
    load.add(2, requests=-1)
    load.clear(0)
    assert (load.requests, load.bytes, load.processes) == (1, 30, 1)


def test_a_body_for_the_disk_takes_no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr("container.serving.spool.SPOOLED", 100_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = os.urandom(250_000)
    with contextlib.closing(body_of(content)) as body:
        assert (body.size, body.in_memory) == (250_000, 0)
        assert os.pread(body.descriptor, 300_000, 0) == content
        assert not list(tmp_path.iterdir()), "it has no name"
