"""Files that somebody else may have made: archives, models and what is in them, schemas, checkpoints.

Each target takes any bytes as such a file, and either gets what the file promises or a refusal of one line. Memory and
time are held by the fuzzer's limits and by the readers' own.
"""

import atexit
import functools
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from fm_core.analysis.baseline import Baseline, stability
from fm_core.analysis.catalogue import CATALOGUE_FILE, Catalogue
from fm_core.artifact.archive import Archive
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import load_model, model_of
from fm_core.artifact.mxnet_symbol import symbol_json
from fm_core.artifact.spread_file import SPREAD_FILE, load_spread, save_spread
from fm_core.batch import Batch
from fm_core.checkpoints import file as checkpoint
from fm_core.checkpoints.state import Checkpoint, Position
from fm_core.errors import ArtifactError, CheckpointError, ConfigError, DataError, ResourceError
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import TableSchema
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.small_json import object_of
from fm_core.solvers.minibatch import MiniBatch
from fm_core.spread import Spread
from tests import artifacts

__all__ = ["FILE_TARGETS", "file_seeds"]

MODEL = Model("regressor", 0.5, np.arange(4, dtype=np.float32), np.ones((4, 2), np.float32))
PARAMS = artifacts.params(artifacts.sparse_network(MODEL))
META = artifacts.meta(MODEL)
FACTS = json.loads(META)
HP = Hyperparameters(feature_dim=9, num_factors=2, predictor_type="regressor", epochs=5)
NUMERIC = {"name": "a", "kind": "numeric", "first_feature": 0}
SCHEMA = {
    "version": 1, "feature_dim": 8, "label": "y", "dense": False, "missing": "zero", "columns": [
        NUMERIC, {"name": "b", "kind": "categorical", "first_feature": 1, "categories": ["x", 'y"\\', "\u00fc"]},
        {"name": "c", "kind": "hashed", "first_feature": 4, "buckets": 4, "separator": "|"},
    ],
}  # fmt: skip
CATALOGUE_SCHEMA = TableSchema.from_json(json.dumps(SCHEMA))
PREFIX = b"\x89FMCKPT\n" + (1).to_bytes(4, "little")


def _as_file(data: bytes, read):
    """Call ``read(path)`` with a file of these bytes, which is in memory."""
    descriptor = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        return read(Path(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)


def _check_model(load) -> None:
    """Call ``load(limits)``, which gives a model as it should be, or refuses."""
    try:
        model = load(Limits(memory=1 << 20, seconds=5))
    except (ArtifactError, ResourceError) as error:
        _check_sentence(error)
        return
    assert model.w.shape == (model.feature_dim,)
    assert model.V.shape == (model.feature_dim, model.num_factors)
    assert np.isfinite(model.w0)
    assert np.isfinite(model.w).all()
    assert np.isfinite(model.V).all()


def artifact(data: bytes) -> None:
    """A model file of any packing: zip, tar, tar.gz."""
    _check_model(lambda limits: _as_file(data, lambda path: load_model(path, limits)))


def params(data: bytes) -> None:
    """The parameters of a model file, behind its checksum."""
    _check_model(lambda limits: model_of(FACTS, memoryview(data), limits))


def meta(data: bytes) -> None:
    """The meta.json of a model file, behind its checksum."""
    try:
        found = object_of(data)
    except ValueError as error:
        _check_sentence(error)
        return
    _check_model(lambda limits: model_of(found, memoryview(PARAMS), limits))


def symbol(data: bytes) -> None:
    """The symbol.json of a model file, which is written for MXNet and never read: what else is there is the same."""
    archive = Archive(artifacts.zipped({"meta.json": META, "symbol.json": data, "params": PARAMS}))
    assert archive.meta(max_size=len(META)) == FACTS
    assert archive.member("params").data == PARAMS


def baseline(data: bytes) -> None:
    """A baseline.json."""
    try:
        found = _as_file(data, lambda path: Baseline.load(path, 4, {"a"}))
    except ConfigError as error:
        _check_sentence(error)
        return
    assert len(found.shares) == len(found.edges) + 1
    assert np.isfinite(stability(found.shares, np.ones(len(found.shares), np.int64)))


def catalogue(data: bytes) -> None:
    """A catalogue.csv beside a model, with a schema and without one (the last byte says)."""
    encoder = Encoder(CATALOGUE_SCHEMA) if data and data[-1] % 2 else None
    path = Path(folder_of_model(), CATALOGUE_FILE)
    path.write_bytes(data[:-1])
    try:
        found = Catalogue.load(path, encoder, 8)
    except (ConfigError, DataError) as error:
        _check_sentence(error)
        return
    assert len(found) > 0
    Batch(8, found.rows.values, found.rows.indptr, found.rows.indices)  # checks what `trusted` did not
    for item in range(min(len(found), 3)):
        json.dumps(found.document(item), allow_nan=False)


def schema(data: bytes) -> None:
    """A schema.json."""
    try:
        found = TableSchema.from_json(data, "schema.json")
    except ConfigError as error:
        _check_sentence(error)
        return
    assert 1 <= found.feature_dim < 2**31
    assert len({column.name for column in found.columns}) == len(found.columns)
    assert not found.is_dense or all(column.kind == "numeric" for column in found.columns)
    assert TableSchema.from_json(found.to_json()) == found


def checkpoints(data: bytes) -> None:
    """A checkpoint: a header's text, a zero byte, and the arrays, under a right checksum of the header."""
    text, _, arrays = data.partition(b"\0")
    head = PREFIX + len(text).to_bytes(4, "little") + zlib.crc32(text, 1).to_bytes(4, "little")
    for content in (head + text + arrays, data)[: 1 + data.startswith(PREFIX[:8])]:
        try:
            found = _as_file(content, lambda path: checkpoint.read(path, MiniBatch(), HP, {}))
        except CheckpointError as error:
            _check_sentence(error)
            continue
        assert isinstance(found, Checkpoint)
        assert found.arrays["params"].shape == (9, 3)


def spread(data: bytes) -> None:
    """A spread.npz beside a model: as it is, or as one of its members under a right checksum (the last byte says)."""
    place = (None, "meta.json", "params.npy")[data[-1] % 3 if data else 0]
    content = data[:-1] if place is None else artifacts.zipped(spread_members() | {place: data[:-1]})
    folder = folder_of_model()
    Path(folder, SPREAD_FILE).write_bytes(content)
    try:
        found = load_spread(folder, "regressor", MODEL.w0, MODEL.w, Limits(memory=1 << 20, seconds=5))
    except (ArtifactError, ResourceError) as error:
        _check_sentence(error)
        return
    assert found is not None
    std = found.std(Batch.from_dense(np.eye(4, dtype=np.float32)))
    assert np.isfinite(std).all()


@functools.cache
def folder_of_model() -> str:
    """A folder in memory with a model in it, for as long as this process lives."""
    folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(folder.cleanup)
    Path(folder.name, "model_algo-1").write_bytes(artifacts.zipped({"meta.json": META, "params": PARAMS}))
    return folder.name


@functools.cache
def spread_members() -> dict[str, bytes]:
    """The members of a right one."""
    rng = np.random.default_rng(0)
    features = np.arange(4, dtype=np.int32)
    model = Model("regressor", MODEL.w0, MODEL.w, MODEL.V)
    model.spread = Spread(False, 4, 1.0, 2.0, features, features // 2, np.ones(2), np.ones(3), np.zeros(3),
                          rng.random((3, 4, 3)).astype(np.float16), rng.random((3, 2, 3), np.float32),
                          np.ones((3, 2, 3), np.float32))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        save_spread(folder, model)
        with zipfile.ZipFile(Path(folder, SPREAD_FILE)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


FILE_TARGETS = {
    "artifact": artifact, "params": params, "meta": meta, "symbol": symbol, "schema": schema, "baseline": baseline,
    "catalogue": catalogue, "checkpoints": checkpoints, "spread": spread,
}  # fmt: skip


def _check_sentence(error: Exception) -> None:
    text = str(error)
    assert text, "an empty sentence"
    assert "\n" not in text, f"a sentence of several lines: {text!r}"
    assert len(text) <= 2000, f"a sentence of {len(text)} characters: {text[:100]!r}..."


def file_seeds(target: str) -> list[bytes]:
    """Files as they should be, of every packing."""
    members = {"meta.json": META, "params": PARAMS}
    if target == "artifact":
        stored, deflated = artifacts.zipped(members), artifacts.zipped(members, zipfile.ZIP_DEFLATED)
        return [stored, deflated, artifacts.tarred({"model_algo-1": stored}), *(
            artifacts.tarred({"a/" * 60 + "code.py": b"x", "model_algo-1": each}, mode)
            for each in (stored, deflated) for mode in ("w", "w:gz"))]  # fmt: skip
    if target == "params":
        dense = {"arg:w1_weight": artifacts.dense(MODEL.w[:, None]), "arg:w0_weight": artifacts.dense(np.ones(1, "f4")),
                 "arg:v": artifacts.dense_v1(MODEL.V)}  # fmt: skip
        half = artifacts.sparse_network(MODEL) | {"arg:v": artifacts.row_sparse(MODEL.V[:2], [3, 1], 4)}
        return [PARAMS, artifacts.params(dense), artifacts.params(half)]
    if target == "meta":
        return [META, artifacts.meta(MODEL, use_bias="false", epochs="3"), b"{}"]
    if target == "symbol":
        return [symbol_json("regressor", 4, 2, FACTS["training_parameters"]).encode(), b"{}"]
    if target == "schema":
        return [json.dumps(SCHEMA).encode(), json.dumps(SCHEMA, indent=2).encode(),
                json.dumps(SCHEMA | {"dense": True, "feature_dim": 1, "columns": [NUMERIC]}).encode()]  # fmt: skip
    if target == "baseline":
        base = {"version": 1, "feature_dim": 4, "source": "train", "rows": 9, "columns": {},
                "scores": {"edges": [0.25, 0.5], "shares": [0.5, 0.25, 0.25]}}  # fmt: skip
        column = {"missing": 0.5, "unseen": 0, "low": -1.5, "high": 1e3}
        return [json.dumps(each).encode() for each in (base, base | {"columns": {"a": column}})]
    if target == "catalogue":
        return [b'item,features,title\n1,0 3:0.5,A\n2,7,"b, ""c"""\n3,,\n\0', b"b,c,a\nx,p|q,1\n,r,\ny,,2e3\n\1"]
    if target == "spread":
        parts = spread_members()
        whole = [artifacts.zipped(parts), artifacts.zipped(parts, zipfile.ZIP_DEFLATED)]
        return [*(each + b"\0" for each in whole), parts["meta.json"] + b"\1", parts["params.npy"] + b"\2"]
    return _checkpoint_seeds()


def _checkpoint_seeds() -> list[bytes]:
    position = Position(
        n_steps=7, epoch=2, n_batches=1, is_dense=False, sums={"n": 10, "_squares": 0.5}, labels_crc=1,
        passes=[[30, 3, 2]], metrics={"mse": 0.25}, validation={}, best_value=float("inf"), best_epoch=0, best_bias=0.0,
    )  # fmt: skip
    d, width = HP.feature_dim, HP.num_factors + 1
    seeds = []
    for sparse, best in ((True, False), (False, True)):
        changed = np.isin(np.arange(d), [0, 8]) if sparse else None
        state = np.ones((d, 2 * width), np.float32)
        if changed is not None:
            state[~changed] = 0
        arrays = {"bias": np.ones(3, np.float32), "params": np.ones((d, width), np.float32), "state": state}
        kept = Checkpoint(position, arrays, changed, np.ones((d, width), np.float32) if best else None)
        folder = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")
        path = folder / f"fuzz-seed-{os.getpid()}"
        checkpoint.write(path, kept, MiniBatch(), HP, {})
        content = path.read_bytes()
        path.unlink()
        n = int.from_bytes(content[12:16], "little")
        seeds += [content[20 : 20 + n] + b"\0" + content[20 + n :], content]
    return seeds
