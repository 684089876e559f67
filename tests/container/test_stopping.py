import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from container.stopping import Interrupted, StopRequest
from tests.conftest import ROOT


@pytest.fixture
def stop():
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    request = StopRequest()
    request.install()
    yield request
    for number, handler in kept.items():
        signal.signal(number, handler)
    request.close()


def test_at_the_end_signals_are_no_longer_heard():
    code = (
        "import os, signal, atexit; from container.stopping import StopRequest\n"
        "stop = StopRequest(); stop.install(); stop.ignore_more()\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, me=os.getpid(), number=signal.SIGTERM): kill(me, number)\n"
        "import sys; sys.late = Late()\n"  # goes when Python has given up its own handlers
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("is_read", [True, False], ids=["its log is read", "its log is no longer read"])
def test_the_process_ends_with_its_status_and_its_whole_log_and_nothing_after(is_read):
    code = (
        "import atexit, sys; from container.stopping import end\n"
        "atexit.register(print, 'Python has ended', flush=True)\n"
        "sys.stdin.read(); print('the last line'); print('and an error', end='', file=sys.stderr); end(3)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    ) as process:  # fmt: skip
        if is_read:
            assert process.communicate() == ("the last line\n", "and an error")
        else:
            process.stdout.close()
            process.stderr.close()
            process.stdin.close()
        assert process.wait() == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_flag_and_a_second_one_changes_nothing(stop, number):
    assert not stop()
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    assert stop.signal_name == number.name


def test_waiting_is_a_sleep_without_a_descriptor(stop):
    started = time.monotonic()
    assert stop.wait(0.05) is False
    assert time.monotonic() - started >= 0.05


def test_waiting_ends_with_data(stop):
    reader, writer = os.pipe()
    assert stop.wait(0.01, reader) is False
    os.write(writer, b"x")
    assert stop.wait(10, reader) is True
    os.close(writer)
    os.close(reader)


def test_a_signal_interrupts_a_wait_in_the_main_thread_and_every_later_one(stop):
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    started = time.monotonic()
    timer.start()
    with pytest.raises(Interrupted):
        stop.wait(30)
    assert time.monotonic() - started < 2
    with pytest.raises(Interrupted):
        stop.wait(0)


def test_a_request_wakes_every_waiting_thread(stop):
    ended = []

    def wait():
        try:
            stop.wait(30)
        except Interrupted:
            ended.append(True)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop.request("test")
    for thread in threads:
        thread.join(5)
    assert ended == [True] * 3
