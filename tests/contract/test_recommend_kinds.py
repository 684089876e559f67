"""Requests for recommendations that are odd or wrong, each kind by each carrier: an answer, or one sentence.

Carriers: Python, `fm recommend`, an endpoint in JSON and in JSON lines, and batch transform.
"""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.analysis.recommendation import Recommender
from fm_core.artifact.model_file import load_model, save_model
from fm_core.cli import main
from fm_core.errors import FMError
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from tests.contract.serving import detail, refused_start, serving

N_USERS, N_FILMS = 6, 40
FILMS = [f"m{i}" for i in range(N_FILMS)]
SCHEMA = TableSchema(
    (
        Column("user", "categorical", tuple(f"u{i}" for i in range(N_USERS))),
        Column("film", "categorical", tuple(FILMS)),
        Column("genre", "categorical", ("crime", "drama")),
    ),
    label="rating",
)
CATALOGUE = "film,genre,year\n" + "".join(f"m{i},{'crime' if i % 2 else 'drama'},{1950 + i}\n" for i in range(N_FILMS))
USER, NEW = {"columns": {"user": "u1"}}, {"columns": {"user": "new"}}


def rated(*films, label=5):
    return [{"film": film, "label": label} for film in films]


#: Kind: a request, and how many items the answer has, or what the sentence says.
KINDS = {
    "an unknown item to leave out": ({**USER, "top_k": 3, "exclude": ["m99"]}, 3),
    "an unknown item to filter by": ({**USER, "top_k": 3, "filter": {"film": "m99"}}, 0),
    "an unknown item in a history": ({**NEW, "top_k": 3, "history": rated("m1", "m99")}, "'m99' was not seen"),
    "an item in the context": ({"columns": {"film": "m1"}, "top_k": 3}, "column 'film' belongs to the catalogue"),
    "an unknown user": ({**NEW, "top_k": 3}, "'new' was not seen"),
    "no user": ({"top_k": 3}, 3),
    "a history of none": ({**NEW, "top_k": 3, "history": []}, 3),
    "a history of one": ({**NEW, "top_k": 3, "history": rated("m1")}, 3),
    "contradictory labels": ({**NEW, "top_k": 3, "history": rated("m1") + rated("m1", label=1)}, 3),
    "the same row many times": ({**NEW, "top_k": 3, "history": rated("m1") * 500}, 3),
    "a label beyond all": ({**NEW, "top_k": 3, "history": rated("m1", label=1e300)}, "label 0 is 1e+300, expected"),
    "a label that is a text": ({**NEW, "top_k": 3, "history": rated("m1", label="5")}, "expected a number"),
    "a history of all items": ({**NEW, "top_k": 3, "history": rated(*FILMS)}, 0),
    "a history of a known user": ({**USER, "top_k": 3, "history": rated("m1")}, "the history has no column"),
    "top_k above the catalogue": ({**USER, "top_k": 1000}, N_FILMS),
    "top_k beyond 64 bits": ({**USER, "top_k": 2**64 - 1}, N_FILMS),
    "top_k of 0": ({**USER, "top_k": 0}, '"top_k" is 0'),
    "top_k of a half": ({**USER, "top_k": 0.5}, '"top_k" is 0.5'),
    "a filter that leaves nothing": ({**USER, "top_k": 3, "filter": {"genre": "horror"}}, 0),
    "a filter that contradicts itself": ({**USER, "top_k": 3, "filter": {"year": {"min": 1970, "max": 1960}}}, 0),
    "a filter of no choice": ({**USER, "top_k": 3, "filter": {"genre": []}}, 0),
    "a filter by no column": ({**USER, "top_k": 3, "filter": {"colour": "red"}}, "filter 'colour' is not a column"),
    "bounds of texts": ({**USER, "top_k": 3, "filter": {"genre": {"min": 1}}}, "has bounds, but not all"),
    "all items left out": ({**USER, "top_k": 3, "exclude": FILMS}, 0),
    "all but one left out": ({**USER, "top_k": 3, "exclude": FILMS[1:], "filter": {"genre": "drama"}}, 1),
    "reasons for nothing": ({**USER, "top_k": 3, "filter": {"genre": "horror"}, "explain": True}, 0),
    "reasons for all": ({**USER, "top_k": 1000, "explain": 1000}, N_FILMS),
    "a context of features": ({"context": {"keys": [1], "values": [1]}, "top_k": 3}, 3),
    "an item among the features": ({"context": {"keys": [7], "values": [1]}, "top_k": 3}, "belongs to the catalogue's"),
    "a feature beyond the model": ({"context": {"keys": [999], "values": [1]}, "top_k": 3}, "key 999 is not below"),
    "values beyond float32": ({"context": {"keys": [1], "values": [3e38]}, "top_k": 3}, "overflows float32"),
    "a member that is none": ({**USER, "top_k": 3, "limit": 2}, "'limit', expected only"),
    "a request that is none": ([], "expected an object with columns and top_k"),
}  # fmt: skip

#: Kind of what lies beside the model: catalogue.csv, and what the sentence says.
CATALOGUES = {
    "empty": ("", "holds no items"),
    "a header only": ("film,genre\n", "holds no items"),
    "of another schema": ("book,author\nDune,Herbert\n", "none of the columns book, author is in the model's schema"),
    "of another training": ("film,genre\nm1,crime\nm77,crime\n", "'m77' was not seen"),
    "an item twice": ("film\nm1\nm1\n", "'m1' occurs twice"),
    "an item without an id": ("film,genre\n,crime\n", "the cell is empty, expected an id"),
    "no text": (b"film\n\xff\xfe\n", "expected UTF-8"),
    "a row too long": ("film\nm1,crime,3\n", "line 2"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    random = np.random.default_rng(0)
    d = SCHEMA.feature_dim
    model = Model("regressor", 3, random.standard_normal(d).astype(np.float32),
                  random.standard_normal((d, 3)).astype(np.float32))  # fmt: skip
    folder = root / "model"
    folder.mkdir()
    save_model(folder / "model_algo-1", model, {})
    SCHEMA.save(folder / "schema.json")
    (folder / "catalogue.csv").write_text(CATALOGUE)
    return root


@pytest.fixture(scope="module")
def servers(root, tmp_path_factory):
    one = {"SAGEMAKER_MODEL_SERVER_WORKERS": 1}
    with (
        serving(root, tmp_path_factory.mktemp("online"), **one) as online,
        serving(root, tmp_path_factory.mktemp("batch"), SAGEMAKER_BATCH="true", **one) as batch,
    ):
        yield {"JSON": online, "JSON lines": online, "batch transform": batch}


@pytest.fixture(scope="module")
def ask(root, servers, tmp_path_factory):
    """Gives a function that asks by a carrier: a list of answers, or a sentence."""
    folder = tmp_path_factory.mktemp("files")
    recommender = Recommender.beside(load_model(root / "model"), root / "model")

    def by_python(requests):
        try:
            found = recommender.recommend(requests)
        except FMError as error:
            return str(error)
        answers = []
        for each in found:
            items = [{"columns": c, "score": y} for c, y in zip(each.columns, each.scores.tolist(), strict=True)]
            for item, explanation in zip(items, each.explanations or [], strict=False):
                item["explanation"] = explanation
            answers.append(items)
        return answers

    def by_command(requests, capfd):
        (folder / "requests").write_text("".join(json.dumps(each) + "\n" for each in requests))
        status = main(["recommend", str(root / "model"), str(folder / "requests")])
        out, err = capfd.readouterr()
        if status:
            assert (status, out, err.count("\n")) == (1, "", 1)
            return err.strip()
        return [json.loads(line)["items"] for line in out.splitlines()]

    def by_server(requests, carrier):
        if carrier == "JSON":
            answer = servers[carrier].invoke({"instances": requests})
            if answer[0] == 200:
                return [each["items"] for each in json.loads(answer[2])["predictions"]]
        else:
            lines = b"\n".join(json.dumps(each).encode() for each in requests)
            answer = servers[carrier].invoke(lines, "application/jsonlines", accept="application/jsonlines")
            if answer[0] == 200:
                return [json.loads(line)["items"] for line in answer[2].split(b"\n")]
        assert answer[0] == 400
        return detail(answer)

    def ask(carrier, requests, capfd):
        if carrier == "Python":
            found = by_python(requests)
        elif carrier == "fm recommend":
            found = by_command(requests, capfd)
        else:
            found = by_server(requests, carrier)
        if isinstance(found, list):
            for item in (item for items in found for item in items):
                item["score"] = float(np.float32(item["score"]))
        else:
            assert "\n" not in found
            assert "Traceback" not in found
        return found

    return ask


CARRIERS = ["Python", "fm recommend", "JSON", "JSON lines", "batch transform"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_each_kind_is_answered_or_refused_by_each_carrier(ask, capfd, carrier, kind):
    request, outcome = KINDS[kind]
    if kind == "a request that is none" and carrier in ("JSON", "JSON lines", "batch transform"):
        request = {"columns": [], "top_k": 1}  # a list is a dense row there
        outcome = 'expected an object "columns"'
    found = ask(carrier, [request], capfd)
    if isinstance(outcome, str):
        assert outcome in found
    else:
        assert len(found[0]) == outcome
        assert found == ask("Python", [request], capfd)


def test_values_beyond_what_can_be_solved_are_refused(root, ask, capfd):
    rows = [{"film": "m1", "label": label} for label in (3e38, -3e38)]
    for carrier in CARRIERS:
        found = ask(carrier, [{**NEW, "top_k": 3, "history": rows}], capfd)
        assert isinstance(found, list) or "too large" in found


@settings(max_examples=15, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=6), carrier=st.sampled_from(CARRIERS[2:]))
def test_any_of_them_together_are_what_each_is_alone(ask, kinds, carrier):
    kinds = [kind for kind in kinds if kind != "a request that is none"]
    requests = [KINDS[kind][0] for kind in kinds]
    found = ask(carrier, requests, None) if requests else []
    bad = [i for i, kind in enumerate(kinds) if isinstance(KINDS[kind][1], str)]
    if bad:
        assert any(KINDS[kinds[i]][1] in found and f" {i}" in found for i in bad)
    else:
        assert [len(items) for items in found] == [KINDS[kind][1] for kind in kinds]
        assert found == ask("Python", requests, None)


@pytest.mark.parametrize("kind", CATALOGUES)
def test_a_catalogue_that_is_none_is_refused_by_each_carrier(root, tmp_path, capfd, kind):
    text, sentence = CATALOGUES[kind]
    shutil.copytree(root / "model", tmp_path / "model")
    (tmp_path / "model/catalogue.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FMError) as refusal:
        Recommender.beside(load_model(tmp_path / "model"), tmp_path / "model")
    (tmp_path / "requests").write_text('{"top_k": 3}\n')
    status = main(["recommend", str(tmp_path / "model"), str(tmp_path / "requests")])
    said = {"Python": str(refusal.value), "fm recommend": capfd.readouterr().err.strip()}
    assert status == 1
    status, said["endpoint"] = refused_start(tmp_path)
    assert status == 1
    for text in said.values():
        assert sentence in text
        assert text.strip().count("\n") == 0
