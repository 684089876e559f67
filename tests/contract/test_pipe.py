"""Pipe mode: `train` as a process, real FIFOs, and local_test/feed_pipe.py as the platform."""

import contextlib
import os
import struct
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.contract.training import Job, is_untrained, read_until, records, stop

DATA = records(500)


@pytest.fixture
def job(tmp_path):
    return pipe_job(tmp_path / "job")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "0.pbr"
    path.write_bytes(DATA)
    return path


def pipe_job(root, **channel):
    job = Job(root)
    job.channels["train"] = {"TrainingInputMode": "Pipe", **channel}
    job.environment["FM_PIPE_WAIT_SECONDS"] = "30"
    return job


@contextlib.contextmanager
def fed(job, channel, *files, **options):
    """Feed a channel from another process while the block runs."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [
        sys.executable,
        "local_test/feed_pipe.py",
        str(job.root / "input/data"),
        channel,
        *map(str, files),
        *words,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def model_in_file_mode(root, data=DATA):
    job = Job(root)
    job.put("0.pbr", data)
    return job.run().model


def test_three_epochs_read_three_fifos_and_give_the_model_of_file_mode(job, file, tmp_path):
    with fed(job, "train", file, epochs=3) as feeder:
        done = job.run()
        assert feeder.wait(10) == 0  # all three were read to their end, and no fourth was asked for
        assert feeder.stdout.read().split("\n")[:3] == [f"pass {n}: {len(DATA)} bytes were taken" for n in range(3)]
    assert done.succeeded, done.log
    assert done.model == model_in_file_mode(tmp_path / "file")
    assert f"The channel 'train' is in pipe input mode under {job.root}/input/data/train." in done.log


@pytest.mark.parametrize("options", [{"chunk": 7}, {"chunk": 1 << 22}, {"late": 0.2}, {"chunk": 9000, "pause": 0.05}],
                         ids=["tiny chunks", "one chunk", "a late FIFO", "a slow writer"])  # fmt: skip
def test_the_model_does_not_depend_on_how_the_data_comes(job, file, tmp_path, options):
    job.hyperparameters["epochs"] = "2"
    with fed(job, "train", file, epochs=2, **options):
        done = job.run()
    assert done.succeeded, done.log
    other = Job(tmp_path / "file")
    other.hyperparameters["epochs"] = "2"
    other.put("0.pbr", DATA)
    assert done.model == other.run().model


def test_framing_goes_on_across_objects(job, tmp_path):
    job.hyperparameters["epochs"] = "1"
    halves = [tmp_path / "a", tmp_path / "b"]
    halves[0].write_bytes(DATA[:1001])
    halves[1].write_bytes(DATA[1001:])
    with fed(job, "train", *halves, epochs=1):
        done = job.run()
    assert done.succeeded, done.log
    assert '"Total Records Seen": {"sum": 500.0' in done.log


def test_every_channel_has_its_own_fifos(job, file):
    job.channels |= {"test": {"TrainingInputMode": "Pipe"}, "validation": {"TrainingInputMode": "Pipe"}}
    with fed(job, "train", file, epochs=3), fed(job, "validation", file, epochs=3), fed(job, "test", file, epochs=1):
        done = job.run()
    assert done.succeeded, done.log
    assert [f"epoch={n}, validation binary_f_1.000" in done.log for n in range(3)] == [True] * 3
    assert "#test_score (algo-1) : ('binary_f_1.000', " in done.log


@pytest.mark.parametrize("objects_are_frames", [True, False], ids=["RecordIO files", "bare records"])
def test_objects_in_frames_of_their_own_are_read(tmp_path, objects_are_frames):
    job = pipe_job(tmp_path / "job", RecordWrapperType="RecordIO")
    job.hyperparameters["epochs"] = "1"
    other = Job(tmp_path / "file")
    other.hyperparameters["epochs"] = "1"
    other.put("0.pbr", DATA)
    wrapped = tmp_path / "wrapped"
    # A bare record in a frame of its own is what a RecordIO file is made of.
    wrapped.write_bytes(struct.pack("<II", 0xCED7230A, len(DATA)) + DATA if objects_are_frames else DATA)
    with fed(job, "train", wrapped, epochs=1):
        done = job.run()
    assert done.succeeded, done.log
    assert done.model == other.run().model


def test_a_pass_that_ends_between_records_is_a_shorter_pass(job, file):
    job.hyperparameters["epochs"] = "2"
    end = DATA.index(struct.pack("<I", 0xCED7230A), len(DATA) // 2)
    with fed(job, "train", file, epochs=2, close_after=end):
        done = job.run()
    assert done.succeeded, done.log
    assert '"Max Records Seen Between Resets": {"sum": 250.0' in done.log


def test_a_pass_that_ends_inside_a_record_is_refused_with_its_place(job, file):
    with fed(job, "train", file, epochs=3, close_after=1003):
        done = job.run()
    assert (done.code, done.model) == (1, {})
    assert done.failure.startswith("ClientError: train_0: record ")


def test_a_pass_without_a_record_is_refused(job):
    with fed(job, "train", epochs=1):
        done = job.run()
    assert (done.code, done.model) == (1, {})
    assert "ClientError: channel train is empty: " in done.failure
    assert "train_0 ended without a record" in done.failure


@pytest.mark.parametrize("fifos", [0, 1, 2])
def test_a_fifo_that_never_comes_is_waited_for_with_a_limit_and_said(job, file, fifos):
    job.environment["FM_PIPE_WAIT_SECONDS"] = "0.6"
    with fed(job, "train", file, epochs=fifos):
        if fifos:
            job.environment["FM_PIPE_WAIT_SECONDS"] = "3"
        done = job.run()
    assert (done.code, done.model) == (1, {})
    assert done.failure.startswith("ClientError: channel train: timed out after ")
    assert f"waiting for the FIFO {job.root}/input/data/train_{fifos};" in done.failure
    assert f"Waiting for the FIFO {job.root}/input/data/train_{fifos}: " in done.log


def test_a_writer_that_never_comes_is_waited_for_with_a_limit(job):
    job.environment["FM_PIPE_WAIT_SECONDS"] = "0.5"
    os.mkfifo(job.root / "input/data/train_0")
    done = job.run()
    assert (done.code, done.model) == (1, {})
    assert f"timed out after 0.5 s waiting for data from {job.root}/input/data/train_0;" in done.failure


# --- being stopped while blocked -----------------------------------------------------------------


def test_sigterm_before_the_first_fifo_ends_the_job_at_once(job):
    with job.started() as process:
        read_until(process, "Waiting for the FIFO")
        seconds, log = stop(process)
        done = job.finished(process.returncode, log)
    assert done.succeeded, log
    assert seconds < 0.7
    assert "Stop requested (SIGTERM) before the first batch: saving the initial model" in log
    assert is_untrained(job)


def test_sigterm_while_a_writer_is_waited_for_ends_the_job_at_once(job):
    os.mkfifo(job.root / "input/data/train_0")
    with job.started() as process:
        read_until(process, "Waiting for data from")
        seconds, log = stop(process)
        done = job.finished(process.returncode, log)
    assert done.succeeded, log
    assert seconds < 0.7
    assert is_untrained(job)


@pytest.mark.parametrize("blocked_on", ["the FIFO", "data from"])
def test_sigterm_while_the_next_data_is_waited_for_saves_what_was_learned(job, file, blocked_on):
    with fed(job, "train", file, epochs=1), job.started() as process:
        head = read_until(process, "#throughput_metric")
        if blocked_on == "data from":
            os.mkfifo(job.root / "input/data/train_1")
        head += read_until(process, f"Waiting for {blocked_on}")
        seconds, log = stop(process)
        done = job.finished(process.returncode, head + log)
    assert done.succeeded, done.log
    assert seconds < 0.7
    assert "Stop requested (SIGTERM): 1 of 3 epochs are done." in log
    assert "epoch=1" not in done.log


def test_sigterm_in_the_middle_of_a_pass_saves_what_was_learned_and_is_no_cut_record(job, file):
    with job.started() as process:
        fifo = job.root / "input/data/train_0"
        os.mkfifo(fifo)
        with fifo.open("wb", buffering=0) as pipe:
            pipe.write(DATA[:-11])
            head = read_until(process, "epoch=0, batch=0")
            seconds, log = stop(process)
        done = job.finished(process.returncode, head + log)
    assert done.succeeded, done.log
    assert seconds < 0.7
    assert "Stop requested (SIGTERM): 0 of 3 epochs are done." in log


def test_sigterm_while_the_test_channel_is_waited_for_keeps_the_model(job, file):
    job.channels["test"] = {"TrainingInputMode": "Pipe"}
    with fed(job, "train", file, epochs=3), job.started() as process:
        head = read_until(process, "Waiting for the FIFO")
        seconds, log = stop(process)
        done = job.finished(process.returncode, head + log)
    assert done.succeeded, done.log
    assert seconds < 0.7
    assert "#test_score" not in done.log
