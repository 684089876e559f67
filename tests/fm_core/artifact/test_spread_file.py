"""spread.npz: what was written is read, NumPy reads it too, and a stranger's file is a sentence."""

import io
import json
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_core.artifact import spread_file
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import load_model, save_model
from fm_core.artifact.spread_file import SPREAD_FILE, load_spread, save_spread
from fm_core.errors import ArtifactError, ResourceError
from fm_core.model import Model
from tests.fm_core.test_spread import FEATURE_DIM, ROWS, batch_of, make_spread

BATCH, _ = batch_of(ROWS)
STD = make_spread().std(BATCH)


def make_model(seed=0, spread=None):
    rng = np.random.default_rng(seed)
    model = Model("regressor", 0.5, rng.random(FEATURE_DIM, np.float32), rng.random((FEATURE_DIM, 2), np.float32))
    model.spread = make_spread() if spread is None else spread
    return model


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model_algo-1", make_model(), {})
    assert save_spread(tmp_path, make_model()) == SPREAD_FILE
    return tmp_path


def of(path, limits=None):
    model = make_model()
    return load_spread(path, model.predictor_type, model.w0, model.w, limits)


def members(folder):
    with zipfile.ZipFile(folder / SPREAD_FILE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(folder, changed, method=zipfile.ZIP_STORED):
    parts = members(folder) | changed
    with zipfile.ZipFile(folder / SPREAD_FILE, "w", method) as archive:
        for name, data in parts.items():
            if data is not None:
                archive.writestr(name, data)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_what_was_written_is_read_where_the_model_is_however_that_is_named(folder):
    for path in (folder, folder / "model_algo-1"):
        assert load_model(path).std(BATCH).tobytes() == STD.tobytes()
    subprocess.run(["tar", "czf", "model.tar.gz", SPREAD_FILE, "model_algo-1"], cwd=folder, check=True)
    assert load_model(folder / "model.tar.gz").std(BATCH).tobytes() == STD.tobytes()
    subprocess.run(["tar", "cf", "model.tar", "model_algo-1", SPREAD_FILE], cwd=folder, check=True)
    assert load_model(folder / "model.tar").std(BATCH).tobytes() == STD.tobytes()
    subprocess.run(["tar", "czf", "model.tar.gz", "model_algo-1"], cwd=folder, check=True)
    assert load_model(folder / "model.tar.gz").spread is None


def test_equal_spreads_are_equal_bytes_and_numpy_reads_them(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save_spread(other, make_model())
    assert (other / SPREAD_FILE).read_bytes() == (folder / SPREAD_FILE).read_bytes()
    found, expected = np.load(folder / SPREAD_FILE), make_spread()
    for name in ("features", "groups", "typical", "alpha", "w0", "params", "prior_mean", "prior_precision"):
        np.testing.assert_array_equal(found[name], getattr(expected, name))


def test_one_that_was_compressed_is_read_within_the_memory_that_there_is(folder):
    rewrite(folder, {}, zipfile.ZIP_DEFLATED)
    assert of(folder).std(BATCH).tobytes() == STD.tobytes()
    with pytest.raises(ResourceError, match="at most 100 may be taken"):
        of(folder, Limits(memory=100))


def test_a_model_keeps_its_spread_in_a_pickle(folder):
    copy = pickle.loads(pickle.dumps(load_model(folder)))
    (folder / SPREAD_FILE).unlink()
    assert copy.std(BATCH).tobytes() == STD.tobytes()


def test_of_many_features_fewer_samples_are_written_and_of_too_many_none(tmp_path, monkeypatch):
    a_sample = 2 * 5 * 4 + 2 * 4 * 2 * 4  # of params, and of both priors, of make_spread
    monkeypatch.setattr(spread_file, "MOST_BYTES", (1 << 16) + 8 * 5 + 8 * 2 + 4 * (a_sample + 20) + 16 * 4)
    save_spread(tmp_path, make_model())
    assert len(of_any(tmp_path).w0) in (4, 5)
    monkeypatch.setattr(spread_file, "MOST_BYTES", 1 << 10)
    assert save_spread(tmp_path, make_model()) is None
    assert not (tmp_path / SPREAD_FILE).exists()


def of_any(folder):
    save_model(folder / "model_algo-1", make_model(), {})
    return load_model(folder).spread


def test_where_a_model_has_none_that_of_another_model_goes_and_other_files_stay(tmp_path):
    plain = make_model()
    plain.spread = None
    save_spread(tmp_path, make_model())
    assert save_spread(tmp_path, plain) is None
    assert not (tmp_path / SPREAD_FILE).exists()
    np.savez(tmp_path / SPREAD_FILE, mine=np.arange(3))
    save_spread(tmp_path, plain)
    assert (tmp_path / SPREAD_FILE).exists()


def meta_with(folder, **changes):
    return json.dumps(json.loads(members(folder)["meta.json"]) | changes).encode()


NOT_FINITE = make_spread().params.copy()
NOT_FINITE[3, 2, 1] = np.inf
HUGE = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + b"%b"


def huge(shape):
    header = b"{'descr': '<f2', 'fortran_order': False, 'shape': (%b), }" % shape
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n"


SPOILT = {
    "version": (lambda f: {"meta.json": meta_with(f, version=2)}, "version is 2, expected 1"),
    "kind": (lambda f: {"meta.json": meta_with(f, predictor_type="x\n<script>")}, "predictor_type is"),
    "width": (lambda f: {"meta.json": meta_with(f, feature_dim=13)}, "feature_dim is 13, expected 12"),
    "another": (lambda f: {"meta.json": meta_with(f, model="00000000")}, "it is the spread of another model"),
    "scale": (lambda f: {"meta.json": meta_with(f, scale=-1.0)}, "expected finite numbers, the scale above 0"),
    "mean": (lambda f: {"meta.json": meta_with(f, mean=float("nan"))}, "it has NaN, which is not a JSON number"),
    "chain": (lambda f: {"meta.json": meta_with(f, chain={"n_samples": 3})}, "chain is"),
    "chain of nothing": (
        lambda f: {
            "meta.json": meta_with(f, chain={"n_samples": None, "effective": 1.0, "cost": 1.0, "is_enough": True})
        },
        "chain is",
    ),
    "no json": (lambda f: {"meta.json": b"{"}, "meta.json: it is not JSON"),
    "deep": (lambda f: {"meta.json": b"[" * 60000}, "meta.json: it is nested too deep"),
    "list": (lambda f: {"meta.json": b"[]"}, "meta.json: it is not a JSON object"),
    "missing": (lambda f: {"params.npy": None}, "but no params.npy"),
    "pickle": (lambda f: {"params.npy": pickle.dumps([1])}, "params.npy is not an array as NumPy writes it"),
    "dtype": (lambda f: {"params.npy": npy(make_spread().params.astype(np.float64))}, "params holds <f8, expected <f2"),
    "cut": (lambda f: {"params.npy": npy(make_spread().params)[:-2]}, "params has shape"),
    "more than there is": (lambda f: {"params.npy": huge(b"16, 1000000000, 9")}, "params has shape"),
    "none of very many": (lambda f: {"params.npy": huge(b"0, 999999999999999999999, 9")}, "params has shape"),
    "dimensions": (lambda f: {"params.npy": npy(np.zeros((6, 20), np.float16))}, "expected 3 dimensions"),
    "other samples": (lambda f: {"w0.npy": npy(np.zeros(5))}, r"w0 has shape \(5,\)"),
    "fortran": (lambda f: {"params.npy": npy(np.asfortranarray(make_spread().params))}, "in C order"),
    "order": (lambda f: {"features.npy": npy(np.array([1, 2, 2, 7, 9], "i4"))}, "features are not increasing numbers"),
    "beyond": (lambda f: {"features.npy": npy(np.array([1, 2, 4, 7, 12], "i4"))}, "from 0 to 11"),
    "negative": (lambda f: {"features.npy": npy(np.array([-1, 2, 4, 7, 9], "i4"))}, "features are not increasing"),
    "groups": (lambda f: {"groups.npy": npy(np.array([0, 0, 1, 1, 2], "i4"))}, "groups are not numbers from 0 to 1"),
    "infinite": (lambda f: {"params.npy": npy(NOT_FINITE)}, "params has a number that is not finite"),
    "precision": (lambda f: {"alpha.npy": npy(np.zeros(6))}, "alpha has a number"),
    "typical": (lambda f: {"typical.npy": npy(np.array([1.0, -1.0]))}, "typical has a number"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_no_spread_of_this_model_is_a_sentence_of_one_line(folder, how):
    make, sentence = SPOILT[how]
    rewrite(folder, make(folder))
    model = load_model(folder)  # which is as good as ever
    with pytest.raises(ArtifactError, match=sentence) as caught:
        model.std(BATCH)
    assert SPREAD_FILE in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_one_sample_and_very_many_are_refused(folder):
    for n in (1, 65):
        spread = make_spread(n_samples=n)
        rewrite(folder, {f"{name}.npy": npy(getattr(spread, name))
                         for name in ("alpha", "w0", "params", "prior_mean", "prior_precision")})  # fmt: skip
        with pytest.raises(ArtifactError, match=f"it has {n} samples, expected 2 to 64"):
            of(folder)


def test_a_file_beyond_its_bound_and_what_is_no_file_are_refused(folder, monkeypatch):
    size = (folder / SPREAD_FILE).stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(spread_file, "MOST_BYTES", 100)
        with pytest.raises(ArtifactError, match=f"it has {size} bytes, expected at most 100"):
            of(folder)
    (folder / SPREAD_FILE).write_bytes(b"")
    with pytest.raises(ArtifactError, match="empty, or not a file"):
        of(folder)
    (folder / SPREAD_FILE).unlink()
    (folder / SPREAD_FILE).symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match="empty, or not a file"):
        of(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_spoilt_byte_is_refused_or_changes_nothing(folder, data):
    content = (folder / SPREAD_FILE).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    spoilt = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    try:
        (folder / SPREAD_FILE).write_bytes(spoilt)
        found = of(folder)
        assert found.std(BATCH).tobytes() == STD.tobytes()
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        (folder / SPREAD_FILE).write_bytes(content)
