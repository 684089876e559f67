"""What a checkpoint folder is opened with."""

import dataclasses
import logging

import pytest

from container.stopping import StopRequest
from container.training.channel_batches import ChannelBatches
from container.training.channels import ChannelReader
from container.training.checkpoints import open_checkpoints
from container.training.job import Channel, Paths, TrainingJob
from fm_core.errors import CheckpointError
from fm_core.hyperparameters import Hyperparameters

HP = Hyperparameters(feature_dim=2**20, num_factors=63, predictor_type="regressor")
ARRAY = 2**28  # bytes of one array of these
OTHER = 128 << 20


@pytest.fixture
def job(tmp_path):
    return TrainingJob(Paths(tmp_path), {}, checkpoint_folder=tmp_path / "c")


def test_without_a_folder_there_are_no_checkpoints(job):
    assert open_checkpoints(dataclasses.replace(job, checkpoint_folder=None), HP, {}, None) is None


@pytest.mark.parametrize("missing", [0, 1])
def test_without_memory_for_a_copy_training_waits_for_each_checkpoint(job, caplog, missing):
    with caplog.at_level(logging.INFO):
        checkpointer = open_checkpoints(job, HP, {}, None, available=6 * ARRAY + OTHER - missing)
    assert checkpointer.has_copy == (not missing)
    assert ("Training pauses while a checkpoint is written" in caplog.text) == bool(missing)


def test_names_and_sizes_of_the_files_are_what_is_known_of_the_data(job, tmp_path):
    folder = tmp_path / "train"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"12")
    (folder / "deep/b").write_bytes(b"345")
    (folder / "_SUCCESS").write_bytes(b"")

    def fingerprint(**mode):
        channel = Channel("train", folder, **mode)
        return ChannelBatches(ChannelReader(channel, stop=StopRequest(), wait_seconds=1), HP).fingerprint

    first = fingerprint()
    assert first.startswith("2 files of 5 bytes (")
    (folder / "a").write_bytes(b"21")
    assert fingerprint() == first
    (folder / "a").rename(folder / "c")
    assert fingerprint() != first
    (folder / "c").rename(folder / "a")
    (folder / "a").write_bytes(b"123")
    assert fingerprint().startswith("2 files of 6 bytes (")
    assert fingerprint(mode="Pipe") == "a stream"


def test_the_model_that_training_starts_from_is_part_of_what_decides(job, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_algo-1").write_bytes(b"x")
    assert open_checkpoints(job, HP, {}, folder).fingerprint["model"].startswith("1 files of 1 bytes")


def test_a_folder_that_cannot_be_made_is_refused(job, tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(CheckpointError, match="the checkpoint folder"):
        open_checkpoints(job, HP, {}, None)
