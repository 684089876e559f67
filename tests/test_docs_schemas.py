"""The JSON Schemas in docs and the readers of those files agree: what a schema refuses, its reader refuses too."""

import copy
import json
import zipfile

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_core.analysis.baseline import Baseline
from fm_core.artifact.model_file import load_model
from fm_core.artifact.spread_file import SPREAD_FILE, load_spread, save_spread
from fm_core.errors import ArtifactError, ConfigError
from tests import artifacts
from tests.conftest import ROOT
from tests.fm_core.artifact.test_hostile_archives import MODEL
from tests.fm_core.artifact.test_spread_file import make_model

BASELINE = {
    "version": 1, "feature_dim": 7, "source": "train", "rows": 4,
    "scores": {"edges": [0.5, 1], "shares": [0.25, 0.25, 0.5]},
    "columns": {"age": {"missing": 0.0, "unseen": 0.5, "low": 1, "high": 2},
                "user": {"missing": 0.0, "unseen": 0, "low": None, "high": None}},
}  # fmt: skip


def read_baseline(folder, text):
    (folder / "baseline.json").write_text(text)
    return Baseline.load(folder / "baseline.json", 7, {"age", "user"})


def read_spread(folder, text):
    if not (folder / "members").exists():
        save_spread(folder, make_model())
        (folder / SPREAD_FILE).rename(folder / "members")
    with zipfile.ZipFile(folder / "members") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (folder / SPREAD_FILE).write_bytes(artifacts.zipped(parts | {"meta.json": text.encode()}))
    (folder / "model_algo-1").write_bytes(artifacts.zipped({"meta.json": b""}))
    model = make_model()
    return load_spread(folder, model.predictor_type, model.w0, model.w)


def meta_of_spread(folder):
    save_spread(folder, make_model())
    with zipfile.ZipFile(folder / SPREAD_FILE) as archive:
        return json.loads(archive.read("meta.json"))


def read_model(folder, text):
    params = artifacts.params(artifacts.sparse_network(MODEL))
    (folder / "model_algo-1").write_bytes(artifacts.zipped({"meta.json": text.encode(), "params": params}))
    return load_model(folder / "model_algo-1")


#: Schema: how the file is read, and one that is as it should be.
FILES = {
    "baseline_schema": (read_baseline, lambda folder: BASELINE),
    "spread_schema": (read_spread, meta_of_spread),
    "model_meta_schema": (read_model, lambda folder: json.loads(artifacts.meta(MODEL)) | {"score_range": [1, 4.5]}),
}
VALUES = [
    None, True, 0, 1, -1, 7, 1.5, 2**31, 2**63, 10**30, 1e300, "", "1", "7", "\u0661", "train", "regressor", "x" * 2000,
    [], [0.5], ["x"], {}, {"a": 1}, {"missing": 0, "unseen": 0, "low": None, "high": None},
]  # fmt: skip


def places(document, path=()):
    """Every place of a document, and one more in each object."""
    yield path
    if isinstance(document, dict):
        for name, inner in document.items():
            yield from places(inner, (*path, name))
        yield (*path, "more")
    elif isinstance(document, list):
        for number, inner in enumerate(document):
            yield from places(inner, (*path, number))


def changed(document, path, value):
    if not path:
        return {} if value is ... else value
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        inner.pop(path[-1], None) if isinstance(inner, dict) else inner.pop(path[-1])
    else:
        inner[path[-1]] = value
    return document


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_published_schema_refuses_is_refused(tmp_path, name, data):
    read, make = FILES[name]
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / f"docs/{name}.json").read_text()))
    document = make(tmp_path)
    validator.validate(document)
    read(tmp_path, json.dumps(document))
    path = data.draw(st.sampled_from(list(places(document))))
    document = changed(document, path, data.draw(st.sampled_from([..., *VALUES])))
    try:
        read(tmp_path, json.dumps(document))
    except (ArtifactError, ConfigError) as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert len(sentence) < 700
        return
    validator.validate(document)


#: Bytes that are not JSON with one meaning, for any of these files.
SPOILT = {
    "a key twice": (lambda text: text.replace("{", '{"a": 1, "a": 2, ', 1), "twice in one object"),
    "an inner key twice": (lambda text: text[:-1] + ', "more": {"a": 1, "a": 2}}', "twice in one object"),
    "NaN": (lambda text: text.replace("{", '{"a": NaN, ', 1), "it has NaN, which is not a JSON number"),
    "Infinity": (lambda text: text.replace("{", '{"a": -Infinity, ', 1), "it has -Infinity"),
    "depth": (lambda text: '{"a":' * 60_000, "nested too deep|declares|not JSON"),
    "digits": (lambda text: text.replace("{", '{"a": %s, ' % ("9" * 5000), 1), "4300 digits"),
    "two documents": (lambda text: text * 2, "it is not JSON"),
    "a list": (lambda text: f"[{text}]", "it is not a JSON object"),
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name", FILES)
def test_what_says_two_things_is_refused_in_a_sentence(tmp_path, name, how):
    read, make = FILES[name]
    spoil, sentence = SPOILT[how]
    text = spoil(json.dumps(make(tmp_path)))
    with pytest.raises((ArtifactError, ConfigError), match=sentence) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 700


def test_a_baseline_does_not_contradict_itself_or_the_schema(tmp_path):
    for path, value, sentence in (
        (("scores", "shares"), [0.5, 0.5, 0.5], "add up to 1.5, expected 1"),
        (("columns", "other"), BASELINE["columns"]["age"], "column 'other' is not in the model's schema"),
        (("more",), 1, "it has columns, feature_dim, more, rows, scores, source, version, expected"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            read_baseline(tmp_path, json.dumps(changed(BASELINE, path, value)))
