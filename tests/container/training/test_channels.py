import gzip
import logging
import os
import struct
import threading
import time
from pathlib import Path

import pytest

from container.stopping import Interrupted, StopRequest
from container.training.channels import ChannelReader, data_files
from container.training.job import Channel
from fm_core.errors import ConfigError, DataError
from local_test.feed_pipe import feed

MAGIC = struct.pack("<I", 0xCED7230A)


def reader(folder, *, stop=None, wait_seconds=5.0, n_hosts=1, **channel):
    described = Channel(folder.name, folder, **channel)
    return ChannelReader(described, stop=stop or StopRequest(), wait_seconds=wait_seconds, n_hosts=n_hosts)


def content(channel, epoch=0):
    return [(source.name, b"".join(source.chunks)) for source in channel.sources(epoch)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train").mkdir()
    return tmp_path / "train"


@pytest.fixture
def in_background():
    """Run functions in threads that end with the test."""
    threads = []

    def run(function, *arguments, **options):
        thread = threading.Thread(target=function, args=arguments, kwargs=options, daemon=True)
        thread.start()
        threads.append(thread)
        return thread

    yield run
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


# --- File and FastFile ---------------------------------------------------------------------------


def test_every_file_below_the_folder_is_read_in_the_order_of_keys(folder):
    names = ["a/b/2", "a/b/10", "a-b", "b", "a.c", "B", "é", "z/z/z/z/z"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    for mode in ("File", "FastFile"):
        read = content(reader(folder, mode=mode))
        assert [data.decode() for _, data in read] == sorted(names, key=str.encode)
        assert [name for name, _ in read] == [f"train/{name}" for name in sorted(names, key=str.encode)]


def test_what_holds_no_records_is_skipped_with_one_line(folder, caplog):
    caplog.set_level(logging.INFO)
    for name in (
        ".hidden",
        ".amazon.manifest",
        "_SUCCESS",
        "x.manifest",
        ".dots/inside",
        "deep/_SUCCESS",
        "deep/x",
        "_metadata",
        "_committed_123",
        "_delta_log/0.json",
        "_temporary/0/x",
        "_id=3/y",
    ):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"x")
    (folder / "schema.json").write_bytes(b"{}")
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("nowhere")
    (folder.parent / "train-manifest").write_bytes(b"x")
    assert content(reader(folder)) == [("train/_id=3/y", b"x"), ("train/deep/x", b"x")]
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(
        "Channel train: 14 of 16 files hold no records and are skipped: .amazon.manifest (hidden), .dots (hidden)"
    )
    assert caplog.messages[0].endswith("and 9 more")
    assert caplog.messages[1] == (
        "Channel train: the folders that are the columns '_id' are no features: rows of feature ids have no columns"
    )
    assert {path.name: why for path, why in data_files(folder)[1]} == {
        ".amazon.manifest": "hidden", ".dots": "hidden", ".hidden": "hidden", "_SUCCESS": "a marker",
        "dangling": "not a file", "empty": "empty", "pipe": "not a file", "x.manifest": "a marker",
        "schema.json": "a schema", "_metadata": "a marker", "_committed_123": "a marker", "_delta_log": "a marker",
        "_temporary": "a marker",
    }  # fmt: skip


def test_links_are_followed_and_loops_are_not(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "file").symlink_to(tmp_path / "elsewhere/x")
    (tmp_path / "elsewhere/loop").symlink_to(folder)
    (folder / "self").symlink_to(".")
    files, skipped = data_files(folder)
    assert [path.relative_to(folder).as_posix() for path in files] == ["file", "link/x"]
    assert [(path.name, why) for path, why in skipped] == [
        ("loop", "a link to a folder above it"), ("self", "a link to a folder above it")]  # fmt: skip


def test_a_thousand_small_files_are_one_stream_after_the_other(folder):
    for number in range(1000):
        (folder / f"{number:04}").write_bytes(bytes([number % 256]))
    assert b"".join(data for _, data in content(reader(folder))) == bytes(number % 256 for number in range(1000))


@pytest.mark.parametrize("compression", ["None", "Gzip"])
def test_gzip_is_recognised_by_its_first_bytes(folder, compression):
    (folder / "a").write_bytes(gzip.compress(b"abc") + gzip.compress(b"def"))
    (folder / "b.gz").write_bytes(b"plain")
    channel = reader(folder, compression=compression)
    assert content(channel) == [("train/a", b"abcdef"), ("train/b.gz", b"plain")]
    assert channel.n_bytes == len(b"abcdef") + len(b"plain")


def test_each_pass_is_counted_anew(folder):
    (folder / "a").write_bytes(b"x" * 1000)
    channel = reader(folder)
    for epoch in range(3):
        content(channel, epoch)
        assert channel.n_bytes == 1000


@pytest.mark.parametrize("change", ["longer", "shorter", "gone"])
def test_files_that_change_between_passes_are_refused(folder, change):
    for name in ("a", "b"):
        (folder / name).write_bytes(b"x" * 1000)
    channel = reader(folder)
    for epoch in range(2):
        content(channel, epoch)
    if change == "gone":
        (folder / "b").unlink()
    else:
        (folder / "b").write_bytes(b"x" * {"longer": 1001, "shorter": 999}[change])
    with pytest.raises(DataError, match=r"channel train was changed while it was read: .*; write new data to another"):
        content(channel, 2)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="channel train: TrainingInputMode is FastFile, but there is no folder"):
        reader(tmp_path / "train", mode="FastFile")


# --- emptiness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "n_hosts"), [("FullyReplicated", 1), ("FullyReplicated", 2), ("ShardedByS3Key", 1)]
)
def test_an_empty_channel_is_refused(folder, distribution, n_hosts):
    (folder / "_SUCCESS").write_bytes(b"x")
    with pytest.raises(DataError, match=r"channel train is empty: no file below .*train holds a record"):
        reader(folder, distribution=distribution, n_hosts=n_hosts)


def test_an_empty_shard_among_several_hosts_is_not_an_empty_channel(folder, caplog):
    caplog.set_level(logging.INFO)
    channel = reader(folder, distribution="ShardedByS3Key", n_hosts=3)
    assert content(channel) == []
    assert caplog.messages == ["This host's shard of channel train is empty."]


# --- Pipe ----------------------------------------------------------------------------------------


def test_each_pass_reads_one_fifo_to_its_end(folder, tmp_path, in_background):
    (tmp_path / "data").write_bytes(bytes(range(256)) * 5000)
    feeder = in_background(feed, tmp_path, "train", [tmp_path / "data"] * 2, epochs=3, late=0.05)
    channel = reader(folder, mode="Pipe")
    for epoch in range(3):
        assert content(channel, epoch) == [(f"train_{epoch}", bytes(range(256)) * 10000)]
        assert channel.n_bytes == 256 * 10000
    feeder.join(5)
    assert not feeder.is_alive()


def test_gzip_is_recognised_in_a_fifo_too(folder, tmp_path, in_background):
    (tmp_path / "data").write_bytes(gzip.compress(b"abc"))
    in_background(feed, tmp_path, "train", [tmp_path / "data"] * 2, epochs=1)
    assert content(reader(folder, mode="Pipe")) == [("train_0", b"abcabc")]


def test_a_writer_that_writes_nothing_gives_an_empty_pass(folder, tmp_path, in_background):
    in_background(feed, tmp_path, "train", [], epochs=1)
    assert content(reader(folder, mode="Pipe")) == [("train_0", b"")]


def test_a_reader_that_leaves_closes_the_fifo_and_reads_the_next(folder, tmp_path, in_background):
    (tmp_path / "data").write_bytes(b"x" * 50_000_000)
    written = []
    in_background(lambda: written.extend(feed(tmp_path, "train", [tmp_path / "data"], epochs=2)))
    channel = reader(folder, mode="Pipe")
    for epoch in range(2):
        (source,) = channel.sources(epoch)
        chunks = iter(source.chunks)
        assert next(chunks)
        del chunks, source
    deadline = time.monotonic() + 5
    while len(written) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(written) == 2
    assert max(written) < 50_000_000


def test_a_writer_is_waited_for_with_a_line_now_and_then(folder, tmp_path, in_background, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "data").write_bytes(b"x")
    in_background(feed, tmp_path, "train", [tmp_path / "data"], epochs=1, late=0.5)
    assert content(reader(folder, mode="Pipe", wait_seconds=3.0)) == [("train_0", b"x")]
    waits = [message for message in caplog.messages if message.startswith("Waiting for the FIFO")]
    assert 2 <= len(waits) <= 6
    assert waits[0].endswith(f"{tmp_path}/train_0: 0 s so far, 3 s at most")


@pytest.mark.parametrize("silent", ["no FIFO", "no writer", "a writer that falls silent"])
def test_waiting_has_a_limit(folder, tmp_path, silent):
    writer = None
    if silent != "no FIFO":
        os.mkfifo(tmp_path / "train_0")
    if silent == "a writer that falls silent":
        writer = os.open(tmp_path / "train_0", os.O_RDWR)
        os.write(writer, b"something")
    started = time.monotonic()
    with pytest.raises(DataError, match=r"channel train: timed out after 0\.3 s waiting for .*train_0; check"):
        content(reader(folder, mode="Pipe", wait_seconds=0.3))
    assert 0.3 <= time.monotonic() - started < 2
    if writer:
        os.close(writer)


def test_silence_is_counted_from_the_latest_data(folder, tmp_path, in_background):
    (tmp_path / "data").write_bytes(b"x" * 8)
    in_background(feed, tmp_path, "train", [tmp_path / "data"], epochs=1, chunk=1, pause=0.1)
    assert content(reader(folder, mode="Pipe", wait_seconds=0.5)) == [("train_0", b"x" * 8)]


@pytest.mark.parametrize("blocked_on", ["no FIFO", "no writer", "no data"])
def test_a_stop_ends_every_wait_at_once(folder, tmp_path, blocked_on):
    writer = None
    if blocked_on != "no FIFO":
        os.mkfifo(tmp_path / "train_0")
    if blocked_on == "no data":
        writer = os.open(tmp_path / "train_0", os.O_RDWR)
    stop = StopRequest()
    channel = reader(folder, mode="Pipe", stop=stop, wait_seconds=60)
    ended = []

    def read():
        with pytest.raises(Interrupted):
            content(channel)
        ended.append(time.monotonic())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    asked = time.monotonic()
    stop.request("SIGTERM")
    thread.join(5)
    assert ended[0] - asked < 0.2
    if writer:
        os.close(writer)


def test_no_descriptor_is_left_open(folder, tmp_path, in_background):
    (tmp_path / "data").write_bytes(b"x" * 100)
    stop = StopRequest()
    before = list(Path("/proc/self/fd").iterdir())
    feeder = in_background(feed, tmp_path, "train", [tmp_path / "data"], epochs=5)
    channel = reader(folder, mode="Pipe", stop=stop)
    for epoch in range(5):
        content(channel, epoch)
    feeder.join(5)
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


# --- wrapped objects -----------------------------------------------------------------------------


def test_wrapped_objects_are_unwrapped(folder):
    inner = MAGIC + struct.pack("<I", 4) + b"abcd"
    (folder / "a").write_bytes((MAGIC + struct.pack("<I", len(inner)) + inner) * 2)
    assert content(reader(folder, record_wrapper="RecordIO")) == [("train/a", inner * 2)]
    assert content(reader(folder)) == [("train/a", (MAGIC + struct.pack("<I", len(inner)) + inner) * 2)]
