"""The model file: what is written, and every layout that is read."""

import errno
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from fm_core.artifact.model_file import identity, load_model, read_meta, save_model
from fm_core.batch import Batch
from fm_core.errors import ArtifactError, ResourceError
from fm_core.model import Model
from tests import artifacts
from tests.artifacts import dense, row_sparse

SETTINGS = {"epochs": "2", "factors_lr": "0.0001", "factors_wd": "0.00001", "use_bias": "true"}


def make_model(d=7, k=3, predictor_type="regressor", seed=0):
    rng = np.random.default_rng(seed)
    both = rng.normal(0, 0.1, (d, k + 1)).astype(np.float32)
    # As training leaves them: two views of one array.
    return Model(predictor_type, float(np.float32(0.25)), both[:, k], both[:, :k])


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def write(tmp_path):
    """Write a model file of given members and give its path."""

    def write(model, arrays=None, *, compression=zipfile.ZIP_STORED, **settings):
        arrays = artifacts.sparse_network(model) if arrays is None else arrays
        members = {"meta.json": artifacts.meta(model, **settings), "params": artifacts.params(arrays)}
        path = tmp_path / "model_algo-1"
        path.write_bytes(artifacts.zipped(members, compression))
        return path

    return write


def same(found, expected):
    return (
        found.predictor_type == expected.predictor_type
        and (found.feature_dim, found.num_factors) == (expected.feature_dim, expected.num_factors)
        and found.w0 == expected.w0
        and np.array_equal(found.w, expected.w)
        and np.array_equal(found.V, expected.V)
    )


def refusal(path):
    with pytest.raises(ArtifactError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_what_is_written_is_read(tmp_path, predictor_type):
    model = make_model(predictor_type=predictor_type)
    save_model(tmp_path / "model_algo-1", model, SETTINGS)
    assert same(load_model(tmp_path / "model_algo-1"), model)


def test_params_are_the_bytes_of_the_layout_written_down_in_the_tests(tmp_path, model):
    save_model(tmp_path / "m", model, SETTINGS)
    with zipfile.ZipFile(tmp_path / "m") as archive:
        assert archive.read("params") == artifacts.params(artifacts.sparse_network(model))


def test_the_zip_is_stored_whole_and_dated_1980(tmp_path, model):
    save_model(tmp_path / "m", model, SETTINGS)
    with zipfile.ZipFile(tmp_path / "m") as archive:
        assert archive.testzip() is None
        members = archive.infolist()
    assert [member.filename for member in members] == ["meta.json", "symbol.json", "params"]
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}


def test_meta_is_the_configuration_with_the_facts_of_the_model(tmp_path, model):
    save_model(tmp_path / "m", model, SETTINGS)
    assert read_meta(tmp_path / "m") == {
        "version": 1,
        "epoch_number": 1,
        "training_parameters": {**SETTINGS, "feature_dim": "7", "num_factors": "3", "predictor_type": "regressor"},
        "label_names": ["out_label"],
    }


def test_equal_models_are_equal_bytes(tmp_path, model):
    save_model(tmp_path / "a", model, SETTINGS)
    copies = Model(model.predictor_type, model.w0, model.w.copy(), model.V.copy())
    save_model(tmp_path / "b", copies, SETTINGS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parameters_have_an_identity_whatever_is_said_beside_them(tmp_path, model):
    for name, other, settings in (("a", model, {}), ("b", model, SETTINGS), ("c", make_model(seed=1), {})):
        (tmp_path / name).mkdir()
        save_model(tmp_path / name / "model_algo-1", other, settings)
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "a/model_algo-1", "model_algo-1")
    with zipfile.ZipFile(tmp_path / "a/model_algo-1") as file:
        assert identity(tmp_path / "a") == f"{zlib.crc32(file.read('params')):08x}"
    assert identity(tmp_path / "a") == identity(tmp_path / "b") == identity(tmp_path / "model.tar.gz")
    assert identity(tmp_path / "a") != identity(tmp_path / "c")


@pytest.mark.parametrize("d", range(1, 40))
def test_the_factors_lie_64_byte_aligned_and_are_used_in_place(tmp_path, d):
    save_model(tmp_path / "m", make_model(d=d, k=2), {**SETTINGS, "epochs": "1" * (d % 7)})
    model = load_model(tmp_path / "m")
    assert model.V.ctypes.data % 64 == 0  # a mapping starts at a page, so the file has it aligned too
    assert not model.V.flags.writeable
    assert not model.V.flags.owndata
    assert not model.w.flags.owndata


def test_a_model_of_several_blocks_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("fm_core.arrays.CACHE_BYTES", 100)
    monkeypatch.setattr("fm_core.arrays.BLOCK_BYTES", 100)
    model = make_model(d=101, k=5)
    save_model(tmp_path / "m", model, SETTINGS)
    with zipfile.ZipFile(tmp_path / "m") as archive:
        assert archive.read("params") == artifacts.params(artifacts.sparse_network(model))
    assert same(load_model(tmp_path / "m"), model)


def test_the_zip64_form_is_read_back(tmp_path, model, monkeypatch):
    monkeypatch.setattr("zipfile.ZIP64_LIMIT", 100)
    save_model(tmp_path / "m", model, SETTINGS)
    monkeypatch.undo()
    loaded = load_model(tmp_path / "m")
    assert same(loaded, model)
    assert loaded.V.ctypes.data % 64 == 0
    assert subprocess.run([sys.executable, "-m", "zipfile", "--test", tmp_path / "m"], check=False).returncode == 0


def test_writing_takes_no_second_copy_of_the_model(tmp_path):
    """A model of 200 MB is written under a limit that leaves 64 MB beside it."""
    program = """
import resource, sys
import numpy as np
from fm_core.artifact.model_file import save_model
from fm_core.model import Model
both = np.ones((3_000_000, 17), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
save_model(sys.argv[1], Model("regressor", 0.0, both[:, 16], both[:, :16]), {})
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "m"], check=True)
    model = load_model(tmp_path / "m")
    assert model.V.shape == (3_000_000, 16)
    assert (model.V[::100_000] == 1).all()


def test_a_full_disk_leaves_the_model_that_was_there(tmp_path, model, monkeypatch):
    path = tmp_path / "model_algo-1"
    save_model(path, model, SETTINGS)
    before = path.read_bytes()

    def full(arrays):
        yield b"some bytes"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fm_core.artifact.mxnet_params.encode", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        save_model(path, make_model(seed=1), SETTINGS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model_algo-1"]
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path, model):
    with pytest.raises(ArtifactError, match="absent/model_algo-1 could not be written: No such file"):
        save_model(tmp_path / "absent" / "model_algo-1", model, SETTINGS)


# ------------------------------------------------------------------- what others wrote


def test_the_golden_file_is_read_and_written_byte_for_byte(root, tmp_path):
    folder = root / "tests" / "golden" / "artifact"
    expected = json.loads((folder / "expected.json").read_text())
    model = load_model(folder / "model_algo-1")
    assert model.predictor_type == expected["predictor_type"]
    assert model.w0 == expected["w0"]
    assert np.array_equal(model.w, np.array(expected["w"], np.float32))
    assert np.array_equal(model.V, np.array(expected["V"], np.float32))
    save_model(tmp_path / "again", model, read_meta(folder)["training_parameters"])
    assert (tmp_path / "again").read_bytes() == (folder / "model_algo-1").read_bytes()


def test_the_built_ins_real_model_scores_its_test_set_as_its_log_says(shared):
    runs = shared / "reference_runs"
    model = load_model(runs / "ml100k_reg_k64_e50_b1000.model.tar.gz")
    rows, labels = read_records((runs / "ml100k_reg_k64_e50_b1000.test.protobuf").read_bytes(), model.feature_dim)
    w, V = model.w.astype(np.float64), model.V.astype(np.float64)
    scores = model.w0 + rows @ w + 0.5 * ((rows @ V) ** 2 - rows.power(2) @ V**2).sum(axis=1)
    error = scores - labels
    assert len(labels) == 20_000
    assert np.sqrt((error**2).mean()) == pytest.approx(1.0002630, abs=5e-8)
    assert (error**2).mean() == pytest.approx(1.0005261, abs=5e-8)
    assert abs(error).mean() == pytest.approx(0.7952481, abs=5e-8)


def test_the_built_ins_real_model_is_written_as_it_was(shared, tmp_path):
    source = shared / "reference_runs" / "ml100k_reg_k64_e50_b1000.model.tar.gz"
    save_model(tmp_path / "m", load_model(source), read_meta(source)["training_parameters"])
    with tarfile.open(source) as tar, zipfile.ZipFile(tar.extractfile("model_algo-1")) as archive:
        theirs = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "m") as archive:
        ours = {name: archive.read(name) for name in archive.namelist()}
    assert list(ours) == list(theirs)
    assert ours["meta.json"] == theirs["meta.json"]
    assert ours["params"] == theirs["params"]
    assert json.loads(ours["symbol.json"]) == json.loads(theirs["symbol.json"])


def read_records(data, feature_dim):
    """Records with one label and sparse Float32 features, in plain Python: CSR matrix and labels."""

    def varint(data, at):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    def fields(data):
        at = 0
        while at < len(data):
            tag, at = varint(data, at)
            assert tag & 7 == 2, "everything in these records is length-delimited"
            size, at = varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size

    def tensor(entry):
        value = dict(fields(dict(fields(entry))[2]))
        found = dict(fields(value[2]))
        keys, at = [], 0
        while at < len(found.get(2, b"")):
            key, at = varint(found[2], at)
            keys.append(key)
        return keys, np.frombuffer(found[1], "<f4")

    indptr, indices, values, labels, at = [0], [], [], [], 0
    while at < len(data):
        _, size = struct.unpack_from("<II", data, at)
        record = dict(fields(data[at + 8 : at + 8 + size]))
        keys, numbers = tensor(record[1])
        indices += keys
        values += numbers.tolist()
        indptr.append(len(indices))
        labels.append(tensor(record[2])[1][0])
        at += 8 + -(-size // 4) * 4
    return sp.csr_matrix((values, indices, indptr), (len(labels), feature_dim)), np.array(labels, float)


def transposed_dense_network(model):
    return {
        "arg:Linear_Plus_Bias_weight": dense(model.w[None, :]),
        "arg:Linear_Plus_Bias_bias": dense(np.array([model.w0], np.float32)),
        "arg:v": dense(model.V.T),
    }


def with_rows_shuffled(model):
    order = np.random.default_rng(1).permutation(model.feature_dim)
    return artifacts.sparse_network(model) | {
        "arg:v": row_sparse(model.V[order], order),
        "arg:w1_weight": row_sparse(model.w[order][:, None], order),
    }


LAYOUTS = {
    "sparse network": artifacts.sparse_network,
    "names without arg:": lambda m: {n.removeprefix("arg:"): a for n, a in artifacts.sparse_network(m).items()},
    "arrays in another order": lambda m: dict(reversed(artifacts.sparse_network(m).items())),
    "rows in another order": with_rows_shuffled,
    "dense arrays": lambda m: artifacts.sparse_network(m) | {"arg:v": dense(m.V), "arg:w1_weight": dense(m.w[:, None])},
    "w of one dimension": lambda m: artifacts.sparse_network(m) | {"arg:w1_weight": dense(m.w)},
    "dense network, v as (k, d)": transposed_dense_network,
    "dense network, v as (d, k)": lambda m: transposed_dense_network(m) | {"arg:v": dense(m.V)},
    "w0 as (1, 1)": lambda m: artifacts.sparse_network(m) | {"arg:w0_weight": dense(np.array([[m.w0]], np.float32))},
    "magic F993FAC8": lambda m: transposed_dense_network(m) | {"arg:v": artifacts.dense_v1(m.V)},
    "magic F993FACA": lambda m: transposed_dense_network(m) | {"arg:v": artifacts.dense_numpy_rules(m.V)},
    "no magic": lambda m: transposed_dense_network(m) | {"arg:v": artifacts.dense_oldest(m.V)},
    "float64": lambda m: artifacts.sparse_network(m) | {"arg:v": row_sparse(m.V.astype(np.float64))},
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(write, layout, compression):
    for d, k in ((7, 3), (3, 7), (1, 4), (4, 1)):
        model = make_model(d, k)
        assert same(load_model(write(model, LAYOUTS[layout](model), compression=compression)), model)


def test_float16_is_read_as_what_it_holds(write):
    model = make_model()
    halves = model.V.astype(np.float16)
    loaded = load_model(write(model, artifacts.sparse_network(model) | {"arg:v": dense(halves)}))
    assert np.array_equal(loaded.V, halves.astype(np.float32))


def test_rows_that_are_not_stored_are_zero(write, model):
    arrays = artifacts.sparse_network(model) | {
        "arg:v": row_sparse(model.V[[5, 2]], [5, 2], n_rows=7),
        "arg:w1_weight": row_sparse(np.empty((0, 1), np.float32), [], n_rows=7),
    }
    loaded = load_model(write(model, arrays))
    expected = np.zeros_like(model.V)
    expected[[2, 5]] = model.V[[2, 5]]
    assert np.array_equal(loaded.V, expected)
    assert np.array_equal(loaded.w, np.zeros(7))


def test_a_square_v_is_turned_in_the_dense_network_only(write):
    model = make_model(d=4, k=4)
    assert same(load_model(write(model)), model)
    assert same(load_model(write(model, transposed_dense_network(model))), model)


@pytest.mark.parametrize(("setting", "name"), [("use_bias", "arg:w0_weight"), ("use_linear", "arg:w1_weight")])
def test_a_term_that_the_model_lacks_needs_no_array(write, model, setting, name):
    arrays = artifacts.sparse_network(model)
    del arrays[name]
    loaded = load_model(write(model, arrays, **{setting: "false"}))
    assert (loaded.w0 if setting == "use_bias" else loaded.w.any()) == 0
    assert name.removeprefix("arg:") in refusal(write(model, arrays))


def test_numbers_in_meta_may_be_numbers(write, model):
    assert same(load_model(write(model, feature_dim=7, num_factors=3)), model)


# -------------------------------------------------------------------------- refusals

HUGE = struct.pack("<q", 2**60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_dim": "8"}, "w1_weight has shape (7, 1), expected (8, 1) or (1, 8) or (8,)"),
        ({"num_factors": "4"}, "v has shape (7, 3), expected (7, 4) or (4, 7)"),
        ({"feature_dim": "0"}, "hyperparameter feature_dim is 0"),
        ({"feature_dim": "9" * 5000}, "hyperparameter feature_dim is '999"),
        ({"feature_dim": None}, "hyperparameter feature_dim is None"),
        ({"predictor_type": "softmax"}, "hyperparameter predictor_type is 'softmax'"),
    ],
)
def test_meta_that_contradicts_is_refused(write, model, settings, message):
    assert message in refusal(write(model, **settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arg:v": dense(np.zeros((7, 3), np.int32))}, "v holds int32, expected float32"),
        ({"arg:bn_gamma": dense(np.zeros(7, np.float32))}, "not a factorization machine: params holds 'arg:w1_weight'"),
        ({"v": dense(np.zeros((7, 3), np.float32))}, "not a factorization machine"),
        ({"arg:v": dense(np.full((7, 3), np.nan, np.float32))}, "v has a parameter that is not finite"),
        ({"arg:w0_weight": dense(np.array([np.inf], np.float32))}, "w0_weight has a parameter that is not finite"),
        ({"arg:v": dense(np.full((7, 3), 1e300))}, "v has a parameter that is not finite"),
        ({"arg:v": row_sparse(np.ones((2, 3), np.float32), [1, 1], 7)}, "has a row id twice"),
        ({"arg:v": row_sparse(np.ones((2, 3), np.float32), [1, 7], 7)}, "row ids from 1 to 7, expected 0 to 6"),
        ({"arg:v": row_sparse(np.ones((2, 3), np.float32), [-1, 3], 7)}, "row ids from -1 to 3"),
        ({"arg:v": struct.pack("<Ii", 0xF993FAC9, 2)}, "stored as csr"),
        ({"arg:v": struct.pack("<IiI", 0xF993FAC9, 0, 0)}, "v has shape (0,)"),
        (
            {"arg:v": struct.pack("<IiI", 0xF993FAC9, 0, 2) + HUGE * 2 + artifacts.CPU + struct.pack("<i", 0)},
            f"ends inside an array of shape ({2**60}, {2**60})",
        ),
        ({"arg:v": struct.pack("<IiI", 0xF993FAC9, 0, 2**31)}, "an array of 2147483648 dimensions"),
        ({"arg:v": struct.pack("<I", 2**30)}, "an array of 1073741824 dimensions"),
    ],
)
def test_params_that_are_not_the_models_are_refused(write, model, change, message):
    assert message in refusal(write(model, artifacts.sparse_network(model) | change))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 50, 100])
def test_a_parameter_that_is_not_finite_is_refused_where_it_lies_in_the_mapped_file(tmp_path, monkeypatch, value, row):
    monkeypatch.setattr("fm_core.arrays.BLOCK_BYTES", 100)
    model = make_model(d=101)
    model.V[row, 1] = value
    with monkeypatch.context() as patch:
        patch.setattr(
            "fm_core.artifact.mxnet_params.arrays.is_finite", lambda block: True
        )  # as other software may write one
        save_model(tmp_path / "m", model, SETTINGS)
    assert "v has a parameter that is not finite" in refusal(tmp_path / "m")


def test_a_small_file_that_declares_a_huge_array_is_refused_before_memory_is_taken(write, model):
    three = struct.pack("<q", 3)
    claim = struct.pack("<IiI", 0xF993FAC9, 1, 2) + HUGE + three + struct.pack("<I", 2) + HUGE + three
    claim += artifacts.CPU + struct.pack("<iiI", 0, 6, 1) + HUGE
    path = write(model, artifacts.sparse_network(model) | {"arg:v": claim})
    tracemalloc.start()
    message = refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"ends inside an array of shape ({2**60}, 3), which takes {12 * 2**60} bytes where" in message
    assert peak < 1 << 20


def test_missing_rows_beyond_any_memory_are_refused(write, model):
    one_row = {what: row_sparse(np.ones((1, k), np.float32), [0], 2**31 - 1) for what, k in (("w", 1), ("v", 65536))}
    arrays = artifacts.sparse_network(model) | {"arg:v": one_row["v"], "arg:w1_weight": one_row["w"]}
    with pytest.raises(ResourceError, match=r"of shape .* takes \d+ bytes of memory, .* but at most"):
        load_model(write(model, arrays, feature_dim=2**31 - 1, num_factors=65536))


@pytest.mark.parametrize("member", ["meta.json", "params"])
def test_a_changed_byte_is_found_by_the_checksum(write, model, member):
    path = write(model)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(member).header_offset + 60
    content[at] ^= 1
    path.write_bytes(content)
    assert f"{member} is damaged: its checksum is" in refusal(path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"not json", b"[1]", b"\xff", b'{"version": 1}'])
def test_meta_that_is_not_ours_is_refused(tmp_path, content):
    path = tmp_path / "model_algo-1"
    path.write_bytes(artifacts.zipped({"meta.json": content, "params": b""}))
    assert "not a model file: meta.json" in refusal(path) or "not a factorization machine: meta.json" in refusal(path)


# ------------------------------------------------------------------------------- fuzz


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model in each packing, and a path to write changed ones to."""
    model = make_model(d=5, k=2)
    folder = tmp_path_factory.mktemp("fuzz")
    save_model(folder / "model", model, SETTINGS)
    ours = (folder / "model").read_bytes()
    members = {"meta.json": artifacts.meta(model), "params": artifacts.params(artifacts.sparse_network(model))}
    contents = [
        ours,
        artifacts.zipped(members, zipfile.ZIP_DEFLATED),
        artifacts.tarred({"model_algo-1": ours}),
        artifacts.tarred({"model_algo-1": ours}, "w"),
    ]
    return model, contents, folder / "changed"


def damages(size):
    return st.one_of(
        st.tuples(st.just("cut"), st.integers(0, size - 1), st.just(b"")),
        st.tuples(st.just("set"), st.integers(0, size - 1), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("insert"), st.integers(0, size), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("remove"), st.integers(0, size - 1), st.binary(min_size=1, max_size=8)),
    )


def damaged(content, kind, at, data):
    after = {"cut": len(content), "set": at + len(data), "insert": at, "remove": at + len(data)}[kind]
    return content[:at] + (data if kind in ("set", "insert") else b"") + content[after:]


def loaded_unless_refused(path):
    """The model, or None after an ArtifactError of one line; any other exception fails the test."""
    try:
        return load_model(path)
    except ArtifactError as error:
        message = str(error)
    assert "\n" not in message
    return None


@given(data=st.data())
def test_a_damaged_file_is_refused_or_is_the_same_model(files, data):
    model, contents, path = files
    content = data.draw(st.sampled_from(contents))
    for damage in data.draw(st.lists(damages(len(content)), min_size=1, max_size=3)):
        content = damaged(content, *damage)
    path.write_bytes(content)
    loaded = loaded_unless_refused(path)
    assert loaded is None or same(loaded, model)


@given(data=st.data())
def test_damaged_params_under_a_right_checksum_are_refused_or_read(files, data):
    """What the checksum would hide from the test above: the parser alone stands between these bytes and memory."""
    model, _, path = files
    content = artifacts.params(data.draw(st.sampled_from([layout(model) for layout in LAYOUTS.values()])))
    for damage in data.draw(st.lists(damages(len(content)), min_size=1, max_size=3)):
        content = damaged(content, *damage)
    path.write_bytes(artifacts.zipped({"meta.json": artifacts.meta(model), "params": content}))
    loaded_unless_refused(path)


# ------------------------------------------------------------------------------- docs


def recipe(root, title):
    """The Python text that follows a sentence of docs/reference/artifact.md."""
    text = (root / "docs" / "reference" / "artifact.md").read_text()
    return re.search(r"```python\n(.*?)```", text[text.index(title) :], re.DOTALL)[1]


@pytest.mark.parametrize("title", ["With NumPy alone", "With this package"])
def test_the_recipes_of_the_docs_open_the_golden_file(root, monkeypatch, title):
    monkeypatch.chdir(root / "tests" / "golden" / "artifact")
    found = {}
    # The recipe closes no files, for shortness.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        exec(recipe(root, title), found)
    expected = load_model("model_algo-1")
    if title == "With this package":
        assert same(found["model"], expected)
        return
    assert found["w0"] == [expected.w0]
    assert np.array_equal(found["w"][:, 0], expected.w)
    assert np.array_equal(found["v"], expected.V)
    x = sp.csr_matrix(np.eye(1, 5, dtype=np.float32) + np.eye(1, 5, 3, dtype=np.float32))
    assert 1 / (1 + np.exp(-found["score"])) == pytest.approx(float(expected.predict(Batch.from_csr(x))[0]), abs=1e-7)
