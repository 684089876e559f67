"""The file: what is written is read, and what is not what was written is refused."""

import dataclasses
import os
import struct
import zlib

import numpy as np
import pytest

from fm_core.checkpoints import file as checkpoint
from fm_core.checkpoints.file import Abandoned
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.errors import CheckpointError, DamagedCheckpointError, DivergenceError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.minibatch import MiniBatch

SOLVER = MiniBatch()
HP = Hyperparameters(feature_dim=21, num_factors=2, predictor_type="regressor", epochs=5)
POSITION = Position(
    n_steps=7, epoch=2, n_batches=1, is_dense=False, sums={"n": 10, "_squares": 0.1 + 0.2}, labels_crc=2**32 - 1,
    passes=[[30, 3, 2]], metrics={"mse": 1 / 3}, validation={}, best_value=float("inf"), best_epoch=0,
    best_bias=0.0,
)  # fmt: skip


def made(hp=HP, sparse=True, best=True):
    random = np.random.default_rng(3)
    states = {"adam": 2, "sgd": 0, "adagrad": 1, "ftrl": 2}[hp._optimizer]
    d, width = hp.feature_dim, hp.num_factors + 1
    changed = np.isin(np.arange(d), [0, 8, 20]) if sparse else None
    state = random.random((d, states * width), np.float32)
    if changed is not None:
        state[~changed] = 0
    arrays = {"bias": random.random(3, np.float32), "params": random.random((d, width), np.float32), "state": state}
    return Checkpoint(POSITION, arrays, changed, random.random((d, width), np.float32) if best else None)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "c.fm"
    checkpoint.write(path, made(), SOLVER, HP, {"train": "two files"})
    return path


def read(path, hp=HP, data="two files"):
    return checkpoint.read(path, SOLVER, hp, {"train": data})


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adagrad", "ftrl"])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("best", [True, False])
def test_what_is_written_is_read(tmp_path, optimizer, sparse, best):
    hp = dataclasses.replace(HP, _optimizer=optimizer)
    written = made(hp, sparse, best)
    checkpoint.write(tmp_path / "c", written, SOLVER, hp, {})
    found = checkpoint.read(tmp_path / "c", SOLVER, hp, {})
    assert found.position == written.position
    assert list(found.arrays) == ["bias", "params", "state"]
    for name, array in written.arrays.items():
        assert np.array_equal(found.arrays[name], array), name
    for name in ("changed", "best"):
        assert np.array_equal(getattr(found, name), getattr(written, name)), name
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_arrays_of_several_blocks_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr("fm_core.arrays.BLOCK_BYTES", 50)
    monkeypatch.setattr(checkpoint, "SYNC_BYTES", 120)
    checkpoint.write(tmp_path / "c", made(), SOLVER, HP, {})
    monkeypatch.undo()
    checkpoint.write(tmp_path / "d", made(), SOLVER, HP, {})
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()
    monkeypatch.setattr("fm_core.arrays.BLOCK_BYTES", 50)
    assert np.array_equal(checkpoint.read(tmp_path / "c", SOLVER, HP, {}).arrays["state"], made().arrays["state"])


def test_state_of_features_that_never_occurred_is_not_written(tmp_path):
    hp = dataclasses.replace(HP, feature_dim=100_000)
    state = np.zeros((100_000, 6), np.float32)
    changed = np.zeros(100_000, bool)
    changed[5] = True
    arrays = {"bias": np.zeros(3, np.float32), "params": np.zeros((100_000, 3), np.float32), "state": state}
    taken = Checkpoint(POSITION, arrays, changed)
    checkpoint.write(tmp_path / "c", taken, SOLVER, hp, {})
    assert (tmp_path / "c").stat().st_size < 100_000 * (12 + 1 / 8) + 10_000
    assert checkpoint.size_on_disk(taken, SOLVER.layout(hp)) <= (tmp_path / "c").stat().st_size


def some_of(whole):
    """Positions in every part of a file: all of its beginning and end, and some between."""
    return sorted({*range(40), *range(0, len(whole), 17), *range(len(whole) - 20, len(whole))})


def test_a_file_that_is_cut_off_anywhere_is_refused(path):
    whole = path.read_bytes()
    for n in some_of(whole):
        path.write_bytes(whole[:n])
        with pytest.raises(DamagedCheckpointError, match=str(path)):
            read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedCheckpointError, match="bytes, expected"):
        read(path)


def test_a_flipped_bit_anywhere_is_noticed(path):
    whole = path.read_bytes()
    for n in some_of(whole):
        path.write_bytes(whole[:n] + bytes([whole[n] ^ 1 << n % 8]) + whole[n + 1 :])
        with pytest.raises(DamagedCheckpointError, match=str(path)):
            read(path)


def rewritten(path, change):
    """Change the header, with a checksum that is right."""
    whole = path.read_bytes()
    magic, version, n, _ = struct.unpack("<8sIII", whole[:20])
    text = change(whole[20 : 20 + n])
    path.write_bytes(
        struct.pack("<8sIII", magic, version, len(text), zlib.crc32(text, version)) + text + whole[20 + n :]
    )


@pytest.mark.parametrize(("old", "new"), [
    (b'"shape": [21, 3]', b'"shape": [1000000000000, 3]'),
    (b'"shape": [3, 6]', b'"shape": [-1, 6]'),
    (b'"shape": [3, 6]', b'"shape": [2, 6]'),
    (b'"shape": [3, 6]', b'"shape": "long"'),
    (b'"name": "params"', b'"name": "parasol"'),
    (b'"position"', b'"positron"'),
    (b'"n_steps"', b'"n_steppes"'),
    (b'"arrays": [', b'"arrays": {}, "others": ['),
    (b'"bytes": 252', b'"bytes": "252"'),
    (b'{"solver', b"{{" + b'"solver'),
])  # fmt: skip
def test_a_header_that_lies_takes_no_memory_and_no_traceback(path, old, new):
    assert old in path.read_bytes()
    rewritten(path, lambda text: text.replace(old, new))
    with pytest.raises(DamagedCheckpointError):
        read(path)


def newer(whole):
    """The bytes of a checkpoint as a next version would write them."""
    magic, _, n, _ = struct.unpack("<8sIII", whole[:20])
    return struct.pack("<8sIII", magic, 2, n, zlib.crc32(whole[20 : 20 + n], 2)) + whole[20:]


def test_a_newer_version_is_said(path):
    path.write_bytes(newer(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"format version 2, expected 1: it is from a newer version") as caught:
        read(path)
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_other_hyperparameters_are_named(path):
    with pytest.raises(CheckpointError) as caught:
        read(path, dataclasses.replace(HP, linear_lr=0.5, seed=4))
    assert "(linear_lr was 0.001 and is 0.5, seed was 0 and is 4)" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"feature_dim was 21 and is 22"):
        read(path, dataclasses.replace(HP, feature_dim=22))


def test_hyperparameters_that_do_not_decide_the_model_may_differ(path):
    read(path, dataclasses.replace(HP, epochs=3, num_threads=4, checkpoint_interval_s=1.0, _num_gpus=1))


def test_fewer_epochs_than_are_begun_are_refused(path):
    with pytest.raises(CheckpointError, match=r"is in epoch 2 .* after 1 batches, and epochs is 2: raise it to at"):
        read(path, dataclasses.replace(HP, epochs=2))


def test_other_data_is_refused(path):
    with pytest.raises(CheckpointError, match=r"other data \(train was two files and is three\)"):
        read(path, data="three")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(DamagedCheckpointError, match="cannot be read: No such file"):
        read(tmp_path / "c")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["bias", "params", "best", "state"])
def test_numbers_that_are_not_finite_are_not_written(tmp_path, path, name, value):
    before = path.read_bytes()
    bad = made()
    array = bad.best if name == "best" else bad.arrays[name]
    array.reshape(-1)[-1] = value
    which = "state, which the model is learned with," if name == "state" else "a parameter"
    with pytest.raises(DivergenceError, match=f"epoch 2, after 1 batches: {which} is no longer finite"):
        checkpoint.write(path, bad, SOLVER, HP, {})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_giving_up_leaves_the_old_file(tmp_path, path):
    before = path.read_bytes()
    asked = []
    with pytest.raises(Abandoned):
        checkpoint.write(path, made(), SOLVER, HP, {}, give_up=lambda: asked.append(1) or len(asked) > 2)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises(DamagedCheckpointError, match="checkpoint is not a file, expected a checkpoint"):
        read(tmp_path / "checkpoint")
    with pytest.raises(DamagedCheckpointError, match="is not a file"):
        checkpoint.read_header(tmp_path / "checkpoint")
