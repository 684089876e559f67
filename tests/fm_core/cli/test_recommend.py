"""fm recommend and fm fold-in, as processes, beside what Python and an endpoint say."""

import gzip
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fm_core.analysis.recommendation import Recommender
from fm_core.artifact.model_file import load_model, read_meta, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.formats.tables.array_table import TextTable
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from tests.fm_core.test_spread import make_spread

N_USERS, N_FILMS = 12, 20
GENRES = ("comedy", "crime", "drama")
SCHEMA = TableSchema(
    (
        Column("user", "categorical", tuple(f"u{i}" for i in range(N_USERS)), unseen="feature"),
        Column("film", "categorical", tuple(f"f{i}" for i in range(N_FILMS))),
        Column("genres", "categorical", GENRES, separator="|"),
    ),
    label="rating",
)
HISTORY = [("f1", 5), ("f2", 1), ("f7", 4.5), ("f9", 2)]
KINDS = ["regressor", "binary_classifier"]


def fm(*arguments, status=0, text=None):
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, arguments)], capture_output=True, text=True, check=False,
        input=text,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.count("\n") == 1
    return done.stdout if status == 0 else done.stderr


def genres_of(film):
    return "|".join(genre for i, genre in enumerate(GENRES) if film >> i & 1)


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    random = np.random.default_rng(0)
    d = SCHEMA.feature_dim
    model = Model(
        request.param, 0.5, random.standard_normal(d).astype(np.float32),
        random.standard_normal((d, 3)).astype(np.float32),
    )  # fmt: skip
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder / "model_algo-1", model, {"epochs": "7"})
    SCHEMA.save(folder / "schema.json")
    (folder / "catalogue.csv").write_text(
        "film,genres,year\n" + "".join(f"f{i},{genres_of(i)},{1950 + i}\n" for i in range(N_FILMS))
    )
    return folder


def is_classifier(folder):
    return load_model(folder).is_classifier


def history_of(folder):
    return [(film, int(label > 3) if is_classifier(folder) else label) for film, label in HISTORY]


def table_of(folder, tmp_path, more=""):
    path = tmp_path / "new.csv"
    rows = history_of(folder)
    lines = [f"zoe,{film},{label}\nu1,{film},{label}\n" for film, label in rows]  # u1 is known: its rows do nothing
    path.write_text("user,film,rating\n" + "".join(lines) + more)
    return path


def test_who_was_folded_in_is_recommended_what_its_history_is(folder, tmp_path):
    history = [{"film": film, "label": label} for film, label in history_of(folder)]
    before = Recommender.beside(load_model(folder), folder)
    (wanted,) = before.recommend([{"columns": {"user": "zoe"}, "history": history, "top_k": N_FILMS}])
    table = table_of(folder, tmp_path, f"amy,f3,{history[0]['label']}\n")
    said = fm("fold-in", folder, table, "--of", "user", "--output", tmp_path / "grown")
    assert f"2 new of user, feature_dim is {SCHEMA.feature_dim + 2}" in said
    after = Recommender.beside(load_model(tmp_path / "grown"), tmp_path / "grown")
    request = {"columns": {"user": "zoe"}, "exclude": [film for film, _ in HISTORY], "top_k": N_FILMS}
    (found,) = after.recommend([request])
    assert found.items.tolist() == wanted.items.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5)
    assert read_meta(tmp_path / "grown")["training_parameters"]["epochs"] == "7"


def test_all_else_is_as_it_was(folder, tmp_path):
    fm("fold-in", folder, table_of(folder, tmp_path), "--of", "user", "--output", tmp_path / "grown")
    schema = TableSchema.load(tmp_path / "grown/schema.json")
    assert schema.columns[0].categories == (*SCHEMA.columns[0].categories, "zoe")
    rows = TextTable(
        "t", {"user": ["u0", "nobody", "u11"], "film": ["f0", "f19", "f3"], "genres": ["comedy|drama", "", "crime"]}
    )
    scores = [
        model.predict(Encoder(of, unseen="ignore", labels="none").encode(rows))
        for model, of in ((load_model(folder), SCHEMA), (load_model(tmp_path / "grown"), schema))
    ]
    assert scores[0].tolist() == scores[1].tolist()
    assert (tmp_path / "grown/catalogue.csv").read_bytes() == (folder / "catalogue.csv").read_bytes()


def test_films_are_folded_in_too(folder, tmp_path):
    labels = [int(label > 3) if is_classifier(folder) else label for _, label in HISTORY]
    path = tmp_path / "new.csv"
    path.write_text("user,film,genres,rating\n" + "".join(f"u{i},Dune,drama|crime,{y}\n" for i, y in enumerate(labels)))
    said = fm("fold-in", folder, path, "--of", "film", "--output", tmp_path / "grown")
    assert "1 new of film" in said
    assert "run `fm catalogue` again" in said
    schema = TableSchema.load(tmp_path / "grown/schema.json")
    model = load_model(tmp_path / "grown")
    rows = TextTable("t", {"user": ["u0", "u1"], "film": ["Dune"] * 2, "genres": ["drama|crime"] * 2})
    first, second = model.predict(Encoder(schema, labels="none").encode(rows))
    assert first > second  # as the labels are


def test_requests_are_answered_as_in_python(folder, tmp_path):
    requests = [
        {"columns": {"user": "u3"}, "top_k": 4},
        {"columns": {"user": "u4"}, "top_k": 2, "filter": {"genres": "crime"}, "explain": 2},
        {"columns": {}, "top_k": 3, "history": [{"film": "f1", "label": 1}], "history_of": "user"},
    ] * 100
    text = "\n".join(map(json.dumps, requests)) + "\n\n"
    answers = [json.loads(line) for line in fm("recommend", folder, "-", text=text).splitlines()]
    wanted = Recommender.beside(load_model(folder), folder).recommend(requests)
    assert len(answers) == len(requests)
    for answer, expected in zip(answers, wanted, strict=True):
        assert [item["columns"] for item in answer["items"]] == expected.columns
        np.testing.assert_array_equal(np.float32([item["score"] for item in answer["items"]]), expected.scores)
        assert [item.get("explanation") for item in answer["items"]] == (
            expected.explanations or [None] * len(expected.items)
        )
        assert all(("predicted_label" in item) == is_classifier(folder) for item in answer["items"])


def test_everybody_gets_the_best_that_they_have_not_seen(folder, tmp_path):
    seen = tmp_path / "seen.csv"
    seen.write_text("film,user\n" + "".join(f"f{i},u0\n" for i in range(15)) + "f0,u1\n")
    fm("recommend", folder, "--users", "user", "--top", 10, "--seen", seen, "-o", tmp_path / "best.jsonl")
    answers = [json.loads(line)["items"] for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [len(answer) for answer in answers] == [5] + [10] * (N_USERS - 1)
    assert {item["columns"]["film"] for item in answers[0]} == {f"f{i}" for i in range(15, 20)}
    assert "f0" not in {item["columns"]["film"] for item in answers[1]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--of", "genres"], "'genres' is not a column of categories"),
        (["--of", "age"], "'age' is not a column of categories, expected user or film"),
        (["--of", "user", "--label", "stars"], "there is no column 'stars'"),
    ],
)
def test_what_cannot_be_folded_in_is_said(folder, tmp_path, arguments, sentence):
    done = fm("fold-in", folder, table_of(folder, tmp_path), *arguments, "-o", tmp_path / "grown", status=1)
    assert sentence in done
    assert not (tmp_path / "grown").exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("zoe,f1,five\n", "line 10, column 'rating': the label is 'five', expected a number"),
        ("zoe,f999,1\n", "'f999' was not seen when the schema was made"),
        (",f1,1\n", "column 'user': the cell is empty, expected an id"),
        ("zoe,f1,nan\n", "expected"),
    ],
)
def test_rows_that_cannot_be_folded_in_are_said(folder, tmp_path, line, sentence):
    table = table_of(folder, tmp_path, line)
    done = fm("fold-in", folder, table, "--of", "user", "-o", tmp_path / "grown", status=1)
    assert sentence in done
    assert not (tmp_path / "grown").exists()


def test_contradictory_labels_and_a_history_of_one_give_an_answer(folder, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("user,film,rating\nzoe,f1,0\nzoe,f1,1\namy,f2,1\n")
    fm("fold-in", folder, path, "--of", "user", "-o", tmp_path / "grown")
    model = load_model(tmp_path / "grown")
    assert np.isfinite(model.V).all()
    assert np.isfinite(model.w).all()


def test_nothing_new_is_said(folder, tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("user,film,rating\nu1,f1,1\n")
    assert "so nothing is new" in fm("fold-in", folder, path, "--of", "user", "-o", tmp_path / "grown", status=1)


def test_without_a_schema_or_a_catalogue_a_sentence_says_so(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bare")
    (tmp_path / "bare/catalogue.csv").unlink()
    assert "catalogue.csv" in fm("recommend", tmp_path / "bare", "-", text="{}\n", status=1)
    (tmp_path / "bare/schema.json").unlink()
    table = table_of(folder, tmp_path)
    done = fm("fold-in", tmp_path / "bare", table, "--of", "user", "-o", tmp_path / "grown", status=1)
    assert "schema.json does not exist" in done


@pytest.mark.parametrize(
    ("arguments", "text", "sentence"),
    [
        (["-"], "{\n", "line 0 is not valid JSON"),
        (["-"], '{"top_k": 1, "top_k": 2}\n', "line 0 has the key 'top_k' twice in one object"),
        (["-"], '{"top_k": 1}\n\n{"columns": {"user": 7}, "top_k": 0}\n', 'line 1: "top_k" is 0'),
        (["-"], '{"columns": {"users": "u1"}, "top_k": 1}\n', "line 0"),
        ([], "", "expected a file of requests, or --users"),
        (["--users", "film"], "", "--users is 'film', expected a column of categories"),
        (["--users", "genres"], "", "--users is 'genres', expected a column of categories"),
    ],
)
def test_bad_requests_are_said(folder, arguments, text, sentence):
    assert sentence in fm("recommend", folder, *arguments, text=text, status=1)


@pytest.mark.parametrize("folder", ["regressor"], indirect=True)
def test_requests_may_be_gzip_begin_with_a_mark_and_end_without_a_line(folder, tmp_path):
    lines = [json.dumps({"columns": {"user": f"u{i}"}, "top_k": 2}) for i in range(3)]
    text = "\n".join(lines)
    (tmp_path / "plain").write_text(text + "\n")
    expected = fm("recommend", folder, tmp_path / "plain")
    assert len(expected.splitlines()) == 3
    for name, data in {
        "gzip": gzip.compress(text.encode()), "mark": b"\xef\xbb\xbf" + text.encode(), "unended": text.encode(),
        "CRLF": "\r\n\r\n".join(lines).encode(), "gzip and mark": gzip.compress(b"\xef\xbb\xbf" + text.encode()),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert fm("recommend", folder, tmp_path / name) == expected, name
    (tmp_path / "cut").write_bytes(gzip.compress((text + "\n").encode() * 9)[:-9])
    assert "the gzip data ends" in fm("recommend", folder, tmp_path / "cut", status=1)
    (tmp_path / "zstd").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    assert "compressed by zstd, expected gzip or none" in fm("recommend", folder, tmp_path / "zstd", status=1)


@pytest.mark.parametrize("folder", ["regressor"], indirect=True)
def test_standard_deviations_come_with_the_best_and_go_with_a_model_that_has_none(folder, tmp_path):
    request = json.dumps({"columns": {"user": "u3"}, "top_k": 2, "configuration": {"spread": True}}) + "\n"
    assert 'line 0: "spread" is not possible: the model has no spread' in fm(
        "recommend", folder, "-", text=request, status=1
    )
    model = load_model(folder)
    model.spread = make_spread(is_classifier=model.is_classifier, feature_dim=model.feature_dim)
    save_spread(folder, model)
    (expected,) = Recommender.beside(model, folder).recommend([json.loads(request)])
    (found,) = map(json.loads, fm("recommend", folder, "-", text=request).splitlines())
    np.testing.assert_array_equal(np.float32([item["std"] for item in found["items"]]), expected.std)
    of_users = fm("recommend", folder, "--users", "user", "--top", "2", "--spread").splitlines()
    assert json.loads(of_users[3]) == found
    history = {"columns": {}, "top_k": 2, "spread": True, "history": [{"film": "f1", "label": 1}]}
    assert '"spread" and "history" were both given' in fm("recommend", folder, "-", text=json.dumps(history), status=1)
    table = tmp_path / "new.csv"
    table.write_text("user,film,genres,rating\nann,f1,comedy,1\n")
    fm("fold-in", folder, table, "--of", "user", "--output", folder)
    assert not (folder / "spread.npz").exists()  # it knows nothing of ann
