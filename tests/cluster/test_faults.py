"""A host that is lost, differs or gives up ends the job of all within a minute, and each says which host it was."""

import contextlib
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from fm_core.artifact.model_file import load_model
from fm_core.cluster.words import Notice, Said, notice_text
from tests.conftest import ROOT
from tests.contract.training import read_until, records

#: Seconds within which every other host has to end.
LIMIT = 60


def training(hosts, size=3, **hyperparameters):
    """Hosts that train until they are stopped."""
    job = hosts(size, epochs="1000000", **hyperparameters)
    job.put("part", records(500))
    return job


def assert_failed(finished, *sentences):
    for host in finished:
        assert host.code == 1, host.log[-2000:]
        assert all(re.search(sentence, host.failure) for sentence in sentences), host.failure
        assert "Traceback" not in host.log
        assert not host.model


@pytest.mark.parametrize(("lost", "number"), [(0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_a_lost_host_is_named_by_all_others(hosts, lost, number):
    job = training(hosts)
    with job.started() as processes:
        for process in processes:
            read_until(process, "epoch=1, train")
        processes[lost].send_signal(number)
        others = [rank for rank in range(3) if rank != lost]
        finished = job.ended([processes[rank] for rank in others], LIMIT, others)
    assert_failed(
        finished, rf"^AlgorithmError: host 127\.0\.0\.{lost + 1} was lost: no heartbeat since \d{{4}}-.* UTC",
        r"this host was at epoch \d+, batch \d+",
    )  # fmt: skip


def test_a_host_that_never_comes_is_named(hosts):
    job = training(hosts)
    for one in job.jobs:
        one.environment["FM_CLUSTER_WAIT_SECONDS"] = "3"
    with job.started(ranks=(0, 1)) as processes:
        finished = job.ended(processes, timeout=LIMIT)
    assert_failed(finished, r"^AlgorithmError: host 127\.0\.0\.3 did not join within \d+ s")


def test_the_first_host_never_comes(hosts):
    job = training(hosts, 2)
    job.jobs[1].environment["FM_CLUSTER_WAIT_SECONDS"] = "3"
    with job.started(ranks=(1,)) as [process]:
        log, _ = process.communicate(timeout=LIMIT)
        finished = job.jobs[1].finished(process.returncode, log)
    assert_failed([finished], r"host 127\.0\.0\.1 did not answer on port \d+ within")


def test_a_host_with_other_hyperparameters_is_named(hosts):
    job = training(hosts)
    job.jobs[1].hyperparameters["factors_lr"] = "0.5"
    assert_failed(job.run(), r"^ClientError: hosts 127\.0\.0\.2 and 127\.0\.0\.1 disagree: factors_lr is 0\.5")


def test_a_host_with_another_version_is_named(hosts, tmp_path):
    job = training(hosts, 2)
    for package in ("fm_core", "container"):
        shutil.copytree(ROOT / package, tmp_path / "other" / package, ignore=shutil.ignore_patterns("*.c", "*.pyx"))
    with (tmp_path / "other/fm_core/training/loop.py").open("a") as file:
        file.write("# another version\n")
    # without the working directory, which has the packages too
    job.jobs[1].environment |= {"PYTHONPATH": str(tmp_path / "other"), "PYTHONSAFEPATH": "1"}
    assert_failed(job.run(), r"^ClientError: hosts 127\.0\.0\.2 and 127\.0\.0\.1 disagree: the program is ")


def test_damaged_data_on_one_host_fails_all_with_its_sentence(hosts):
    job = hosts(3)
    job.configure("train", S3DistributionType="ShardedByS3Key")
    for one in job.jobs:
        one.put("part", records(500))
    job.jobs[1].put("part", records(500)[:-7])
    finished = job.run(timeout=LIMIT)
    assert_failed([finished[1]], r"^ClientError: train/part: record ")
    assert_failed(
        [finished[0], finished[2]], r"^ClientError: host 127\.0\.0\.2 failed: ClientError: train/part: record "
    )


@pytest.mark.parametrize("asked", [(0, 1, 2), (1,)])
def test_after_sigterm_one_consistent_model_is_saved(hosts, asked):
    job = training(hosts)
    job.put("test", records(100, seed=1), "test")
    with job.started() as processes:
        for process in processes:
            read_until(process, "epoch=1, train")
        for rank in asked:
            processes[rank].send_signal(signal.SIGTERM)
            time.sleep(0.05)  # not all at the same step
        finished = job.ended(processes, timeout=30)
    assert [host.code for host in finished] == [0, 0, 0], [host.log[-2000:] for host in finished]
    assert [list(host.model) for host in finished] == [["model_127.0.0.1"], [], []]
    load_model(job.jobs[0].root / "model")
    said = [re.search(r"Stop requested \(.*\): (\d+) of 1000000 epochs are done", host.log) for host in finished]
    assert len({match[1] for match in said}) == 1


def test_a_taken_port_is_told(hosts):
    job = training(hosts, 2)
    with socket.create_server(("127.0.0.1", int(job.jobs[0].environment["FM_CLUSTER_PORT"]))):
        job.jobs[1].environment["FM_CLUSTER_WAIT_SECONDS"] = "3"
        finished = job.run(timeout=LIMIT)
    assert_failed(finished[:1], r"^ClientError: port \d+, on which the other hosts reach this one, cannot be used")


def test_a_damaged_record_of_the_test_data_on_one_host_is_said_by_all_and_the_model_kept(hosts):
    job = hosts(3, epochs="2")
    job.put("part", records(300))
    job.put("part", records(300, seed=1), "test")
    job.configure("test", S3DistributionType="ShardedByS3Key")
    job.jobs[2].put("part", records(300, seed=1)[:-6], "test")
    finished = job.run()
    assert [host.code for host in finished] == [0, 0, 0]
    assert [list(host.model) for host in finished] == [["model_127.0.0.1"], [], []]
    load_model(job.jobs[0].root / "model/model_127.0.0.1")
    for host in finished:
        assert host.failure is None
        assert re.search(r"ERROR .*The test channel was not scored: .*test/part: record 299", host.log), host.log[
            -2000:
        ]
        assert "Traceback" not in host.log


def test_a_model_that_the_first_host_cannot_write_fails_all(hosts):
    job = hosts(2, epochs="2")
    job.put("part", records(300))
    patched = (
        "import sys; from container.training import cluster\n"
        "def full(*given): raise OSError(28, 'No space left on device')\n"
        "cluster.save_model = full\n"
        "from container.train import program; program()"
    )
    with job.jobs[0].started("-c", patched) as first, job.jobs[1].started() as second:
        finished = job.ended([first, second])
    assert_failed(finished, r"^AlgorithmError: .*No space left on device")


def program(before_the_job):
    imports = "import os\nfrom container.train import program\nfrom container.training.cluster import Cluster"
    return f"{imports}\n{before_the_job}\nprogram()"


@pytest.mark.parametrize("way", ["dist_sync", "dist_async"])
def test_a_model_that_the_first_host_has_written_is_kept_though_another_is_lost_before_it_hears_so(hosts, way):
    job = hosts(2, epochs="2", _kvstore=way)
    job.put("part", records(300))
    job.put("part", records(300, seed=1), "test")
    dying = program("Cluster.wait_for_all = lambda self: os._exit(9)")
    with job.jobs[0].started() as first, job.jobs[1].started("-c", dying) as second:
        finished = job.ended([first, second], LIMIT)
    assert [host.code for host in finished] == [0, 9]
    assert list(finished[0].model) == ["model_127.0.0.1"]
    load_model(job.jobs[0].root / "model/model_127.0.0.1")
    assert finished[0].failure is None
    for sentence in ("The model is saved, but not all hosts could be told", "The test channel was not scored"):
        assert re.search(rf"ERROR .*{sentence}: host 127\.0\.0\.2 was lost", finished[0].log), finished[0].log[-2000:]
    assert "Traceback" not in finished[0].log


FORGED = Said("owned\n#quality_metric: host=algo-1, test rmse <loss>=0.0\x1b[2J", "ClientError")


def said_by_an_outsider(port, text):
    """Say something to the board, and give what comes back."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.settimeout(30)
        with contextlib.suppress(ConnectionError):  # closed while there was more to read
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()
        return b""


def test_what_an_outsider_says_while_hosts_train_is_not_heard(hosts):
    job = training(hosts)
    port = int(job.jobs[0].environment["FM_CLUSTER_PORT"])
    with job.started() as processes, contextlib.ExitStack() as open_ones:
        for process in processes:
            read_until(process, "epoch=1, train")
        for _ in range(1000):  # and never a whole word
            with contextlib.suppress(OSError):
                stranger = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                stranger.sendall(b'{"rank": 1, "process": "' + b"x" * 10_000)
        in_place_of_a_host = [Notice(1, "x", said=FORGED), Notice(0, "x", stops=True), Notice(7, "x", stops=True)]
        for text in (b"{garbage\n", b"\xff\n", b"[]\n", b"x" * 3_000_000, *map(notice_text, in_place_of_a_host)):
            assert said_by_an_outsider(port, text) == b""
        read_until(processes[0], "epoch=3, train")
        for process in processes:
            process.send_signal(signal.SIGTERM)
        finished = job.ended(processes, timeout=30)
    assert [host.code for host in finished] == [0, 0, 0]
    assert "#quality_metric: host=algo-1" not in "".join(host.log for host in finished)


def test_what_takes_the_place_of_a_host_before_it_comes_is_told_at_once_and_in_a_harmless_line(hosts):
    job = training(hosts)
    port = int(job.jobs[0].environment["FM_CLUSTER_PORT"])
    with job.started(ranks=(0, 2)) as processes:
        for process in processes:
            read_until(process, "all connect to")
        wait_until_open(port)
        assert said_by_an_outsider(port, notice_text(Notice(1, "x", said=FORGED)))
        finished = job.ended(processes, LIMIT, (0, 2))
    for host in finished:
        assert host.code == 1
        assert host.failure.isprintable()
        assert "#quality_metric: host=algo-1" not in host.log + host.failure
        assert "Traceback" not in host.log


def test_two_processes_that_say_to_be_the_same_host(hosts):
    job = training(hosts)
    job.jobs[2].resources["current_host"] = job.names[1]
    assert_failed(job.run(timeout=LIMIT), r"^ClientError: two processes claim to be host 127\.0\.0\.2")


def wait_until_open(port):
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < deadline


def test_a_host_that_fails_before_it_meets_the_others_is_told_to_them_at_once(hosts):
    """Not after `FM_CLUSTER_WAIT_SECONDS`; the first host too, which they would wait for."""
    for rank in (0, 1):
        job = training(hosts, 3)
        for one in job.jobs:
            one.environment["FM_CLUSTER_WAIT_SECONDS"] = "600"
        job.jobs[rank].channels["train"]["TrainingInputMode"] = "Sideways"
        finished = job.run(timeout=LIMIT)
        assert_failed([finished[rank]], r"^ClientError: .*TrainingInputMode is ")
        others = [host for other, host in enumerate(finished) if other != rank]
        assert_failed(others, rf"^ClientError: host 127\.0\.0\.{rank + 1} failed: ClientError: .*TrainingInputMode is ")


def test_other_files_on_one_host_are_named(hosts):
    job = training(hosts)
    job.jobs[1].put("part", records(400))
    assert_failed(
        job.run(timeout=LIMIT),
        r"^ClientError: hosts 127\.0\.0\.2 and 127\.0\.0\.1 disagree: channel train is 1 files of \d+ bytes \(",
    )


def test_the_first_host_listens_on_the_jobs_interface(hosts):
    job = training(hosts, 2)
    with job.started() as processes:
        for process in processes:
            read_until(process, "epoch=1, train")
        port = int(job.jobs[0].environment["FM_CLUSTER_PORT"])
        listening = [
            line.split()[1]
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]
        assert listening == [f"0100007F:{port:04X}"]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [host.code for host in job.ended(processes, timeout=30)] == [0, 0]


def ports_of(process):
    """The ports of all addresses at which a process listens."""
    found = set()
    sockets = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(descriptor.readlink()))
    for line in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            address, port = fields[1].split(":")
            found.add((socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)))
    return found


def test_what_an_outsider_sends_between_hosts_ends_a_job_at_worst_in_a_sentence(hosts):
    """The ports of gloo's connections, which nobody has to know: what comes there is no host's."""
    job = training(hosts, 2)
    with job.started() as processes:
        for process in processes:
            read_until(process, "epoch=1, train")
        for address, port in set().union(*map(ports_of, processes)):
            for text in (b"", b"x", b"\xff" * 8, b"\0" * 64, bytes(range(256)) * 4096):
                with contextlib.suppress(OSError), socket.create_connection((address, port), 5) as connection:
                    connection.sendall(text)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        finished = job.ended(processes, timeout=LIMIT)
    for host in finished:
        assert host.code in (0, 1), host.log[-2000:]
        assert "Traceback" not in host.log
        assert host.code == 0 or host.failure.isprintable()
