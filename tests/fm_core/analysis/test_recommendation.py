"""Recommendations against the full scores of every item, and requests that cannot be answered."""

import numpy as np
import pytest

from fm_core.analysis.catalogue import Catalogue
from fm_core.analysis.explanation import explain
from fm_core.analysis.fold_in import Population, fold_in
from fm_core.analysis.ranking import contexts_of
from fm_core.analysis.recommendation import Recommender
from fm_core.errors import DataError
from fm_core.formats.registry.inputs import read_tables
from fm_core.formats.requests.named_columns import decode_named
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model

N_USERS, N_FILMS = 30, 400
GENRES = ("comedy", "crime", "drama")
SCHEMA = TableSchema(
    (
        Column("user", "categorical", tuple(f"u{i}" for i in range(N_USERS))),
        Column("hour", "numeric"),
        Column("film", "categorical", tuple(f"f{i}" for i in range(N_FILMS))),
        Column("genres", "categorical", GENRES, separator="|"),
    ),
    label="rating",
)


def make_model(predictor_type="regressor"):
    random = np.random.default_rng(0)
    d = SCHEMA.feature_dim
    w, V = random.standard_normal(d) / 2, random.standard_normal((d, 6)) / 2
    return Model(predictor_type, 3.0, w.astype(np.float32), V.astype(np.float32))


def genres_of(film):
    return [genre for i, genre in enumerate(GENRES) if film >> i & 1]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.csv"
    lines = [f"f{film},{'|'.join(genres_of(film))},{1900 + film % 100}" for film in range(N_FILMS)]
    path.write_text("film,genres,year\n" + "\n".join(lines) + "\n")
    return Catalogue.read(read_tables([path]), Encoder(SCHEMA, labels="none"), SCHEMA.feature_dim)


@pytest.fixture(params=["regressor", "binary_classifier"])
def recommender(request, catalogue):
    return Recommender(make_model(request.param), catalogue, Encoder(SCHEMA, labels="none"))


@pytest.fixture
def regressor(catalogue):
    return Recommender(make_model(), catalogue, Encoder(SCHEMA, labels="none"))


def films_of(recommendation):
    return [columns["film"] for columns in recommendation.columns]


def scores_of(model, columns):
    """Score a context with every film, each as a row of its own."""
    instances = [{"columns": {**columns, "film": f"f{film}", "genres": genres_of(film)}} for film in range(N_FILMS)]
    return model.predict(decode_named(instances, Encoder(SCHEMA, labels="none"), partial=True))


@pytest.mark.parametrize("columns", [{}, {"user": "u3"}, {"user": "u3", "hour": -1}, {"hour": 0.5}, {"user": None}])
def test_the_best_are_those_of_the_full_scores(recommender, columns):
    full = scores_of(recommender.model, columns)
    (found,) = recommender.recommend([{"columns": columns, "top_k": 10}])
    assert found.items.tolist() == np.argsort(-full, kind="stable")[:10].tolist()
    assert found.scores == pytest.approx(full[found.items], rel=1e-5)
    assert found.columns[0] == {
        "film": f"f{found.items[0]}", "genres": genres_of(found.items[0]), "year": 1900 + found.items[0] % 100,
    }  # fmt: skip


def test_what_is_excluded_or_filtered_out_is_left_out(recommender):
    full = scores_of(recommender.model, {"user": "u1"})
    best = np.argsort(-full, kind="stable")
    request = {
        "columns": {"user": "u1"},
        "top_k": 7,
        "exclude": [f"f{best[0]}", f"f{best[3]}", "unknown"],
        "filter": {"genres": "drama", "year": {"min": 1910}},
    }
    for _ in range(2):  # a filter is remembered
        (found,) = recommender.recommend([request])
        left = [i for i in best if i not in best[[0, 3]] and i >> 2 & 1 and i % 100 >= 10]
        assert found.items.tolist() == left[:7]


def test_several_requests_are_answered_as_each_alone(recommender):
    requests = [
        {"columns": {"user": "u1"}, "top_k": 3},
        {"columns": {"user": "u2", "hour": 3}, "top_k": 5, "filter": {"genres": "crime"}},
        {"context": {"keys": [4], "values": [1]}, "top_k": 3, "exclude": ["f1"]},
        {"top_k": 3},
        {"columns": {"user": "new"}, "top_k": 5, "history": [{"film": "f1", "label": 1}]},
    ] * 5
    together = recommender.recommend(requests, num_threads=2)
    for request, found in zip(requests, together, strict=True):
        (alone,) = recommender.recommend([request])
        assert found.items.tolist() == alone.items.tolist()
        assert found.scores.tobytes() == alone.scores.tobytes()
    assert together[2].items.tolist() != together[3].items.tolist()


def test_more_than_there_are_gives_all(regressor):
    (found,) = regressor.recommend([{"columns": {"user": "u1"}, "top_k": 10**9}])
    assert sorted(found.items.tolist()) == list(range(N_FILMS))
    assert (np.diff(found.scores) <= 0).all()


def test_a_filter_that_leaves_nothing_gives_nothing(regressor):
    (found,) = regressor.recommend([{"columns": {"user": "u1"}, "top_k": 3, "filter": {"film": "f400"}}])
    assert len(found.items) == 0
    assert found.columns == []


# --- users who came after training ---


def test_a_history_is_folded_in(recommender):
    is_classifier = recommender.model.is_classifier
    history = [(5, 1.0), (17, 0.0), (200, 1.0)]
    rows = [{"columns": {"film": f"f{film}", "genres": genres_of(film)}} for film, _ in history]
    model = recommender.model
    folded = fold_in(
        Population.of(model, range(N_USERS)),
        contexts_of(model, decode_named(rows, Encoder(SCHEMA, labels="none"), partial=True)),
        np.array([label for _, label in history]),
        is_classifier=is_classifier,
    )
    everyone = decode_named(
        [{"columns": {"hour": 20, "film": f"f{film}", "genres": genres_of(film)}} for film in range(N_FILMS)],
        Encoder(SCHEMA, labels="none"), partial=True,
    )  # fmt: skip
    z = np.array([context.joined_by(folded.w, folded.v).own for context in contexts_of(model, everyone)])
    z[[5, 17, 200]] = -np.inf
    expected = np.argsort(-z, kind="stable")[:10]

    for columns in ({"hour": 20}, {"hour": 20, "user": "zoe"}, {"hour": 20, "user": None}):
        (found,) = recommender.recommend(
            [{"columns": columns, "top_k": 10, "history": [{"film": f"f{f}", "label": y} for f, y in history]}]
        )
        assert found.items.tolist() == expected.tolist()
        assert found.scores == pytest.approx(model.link.score(z[expected]), rel=1e-4)


def test_rows_of_a_history_have_contexts_too_and_the_schemas_label(regressor):
    plain, later, named = (
        regressor.recommend([{"top_k": 5, "history": [{"film": "f1", **more}]}])[0].scores.tolist()
        for more in ({"label": 1}, {"label": 1, "hour": 20}, {"rating": 1})
    )
    assert plain == named
    assert plain != later


def test_a_history_may_be_empty_of_one_or_contradict_itself(recommender):
    for history in ([], [{"film": "f1", "label": 1}], [{"film": "f1", "label": 0}, {"film": "f1", "label": 1}]):
        (found,) = recommender.recommend([{"top_k": 5, "history": history}])
        assert len(found.items) == 5
        assert 1 not in found.items or not history


def test_an_item_of_the_history_that_left_the_catalogue_is_known_by_the_schema(tmp_path):
    path = tmp_path / "catalogue.csv"
    path.write_text("film\n" + "".join(f"f{i}\n" for i in range(2, N_FILMS)))
    encoder = Encoder(SCHEMA, labels="none")
    recommender = Recommender(make_model(), Catalogue.read(read_tables([path]), encoder, SCHEMA.feature_dim), encoder)
    with_it, without = (
        recommender.recommend([{"top_k": 5, "history": [{"film": "f3", "label": 5}, *more]}])[0]
        for more in ([{"film": "f1", "label": 1}], [])
    )
    assert with_it.scores.tolist() != without.scores.tolist()


# --- reasons ---


def test_explanations_are_those_of_the_rows(recommender):
    (found,) = recommender.recommend([{"columns": {"user": "u4", "hour": 3}, "top_k": 4, "explain": 3}])
    rows = [{"columns": {"user": "u4", "hour": 3, **columns}} for columns in found.columns]
    for row in rows:
        del row["columns"]["year"]
    batch = decode_named(rows, Encoder(SCHEMA, labels="none"), partial=True)
    for document, explanation in zip(found.explanations, explain(recommender.model, batch), strict=True):
        expected = explanation.as_document(3, SCHEMA.feature_name)
        assert document["total"] == pytest.approx(expected["total"], rel=1e-5)
        assert [share["name"] for share in document["features"]] == [share["name"] for share in expected["features"]]
        assert [share["features"] for share in document["pairs"]] == [share["features"] for share in expected["pairs"]]
    (few,) = recommender.recommend([{"top_k": 1, "explain": True}])
    assert few.explanations[0]["bias"] == pytest.approx(3.0)


def test_the_user_of_a_history_is_part_of_the_reason(recommender):
    request = {"columns": {"user": "zoe"}, "top_k": 2, "explain": 50, "history": [{"film": "f1", "label": 1}]}
    (found,) = recommender.recommend([request])
    for document, score in zip(found.explanations, found.scores, strict=True):
        assert recommender.model.link.score(np.array(document["total"])) == pytest.approx(score, rel=1e-4)
        (share,) = [share for share in document["features"] if share["name"] == "user=zoe"]
        assert share["feature"] is None
        assert any("user=zoe" in share["names"] and None in share["features"] for share in document["pairs"])


# --- requests that cannot be answered ---


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (7, "request 0 is 7, expected an object"),
        ({"columns": {}}, '"top_k" is None, expected an integer of at least 1'),
        ({"columns": {}, "top_k": 0}, '"top_k" is 0'),
        ({"columns": {}, "top_k": True}, '"top_k" is True'),
        ({"columns": {}, "top_k": 1, "n": 3}, "request 0 has 'n', expected only columns, context"),
        ({"columns": [], "top_k": 1}, 'expected an object "columns", or a "context"'),
        ({"columns": {}, "context": {}, "top_k": 1}, "and not both"),
        ({"columns": {"film": "f1"}, "top_k": 1}, "column 'film' belongs to the catalogue"),
        ({"columns": {"year": 1}, "top_k": 1}, "column 'year' belongs to the catalogue"),
        ({"columns": {"colour": 1}, "top_k": 1}, "request 0: column 'colour' is not in the schema"),
        ({"columns": {"user": "zoe"}, "top_k": 1}, "request 0, column 'user': 'zoe' was not seen"),
        ({"context": {"keys": [31], "values": [1]}, "top_k": 1}, "feature 31, which belongs to the catalogue's"),
        ({"context": {"keys": [10**6], "values": [1]}, "top_k": 1}, "request 0: key 1000000 is not below"),
        ({"context": {"keys": list(range(30)), "values": [3e38] * 30}, "top_k": 1}, "a score overflows float32"),
        ({"top_k": 1, "exclude": "f1"}, '"exclude" is f1, expected a list'),
        ({"top_k": 1, "exclude": [None]}, '"exclude" is'),
        ({"top_k": 1, "filter": "comedy"}, '"filter" is comedy, expected an object'),
        ({"top_k": 1, "filter": {"colour": 1}}, "request 0: filter 'colour' is not a column"),
        ({"top_k": 1, "explain": -1}, '"explain" is -1'),
        ({"top_k": 1, "history": "f1"}, '"history" is f1, expected a list'),
        ({"top_k": 1, "history": ["f1"]}, '"history" is'),
        (
            {"top_k": 1, "history_of": "user"},
            '"history_of" is user, expected the name of a column, together with "history"',
        ),
        ({"top_k": 1, "history": [], "history_of": "film"}, "'film', expected a column of ids that the catalogue"),
        ({"top_k": 1, "history": [{"film": "f1"}]}, "request 0, history 0: the label is None, expected a number"),
        ({"top_k": 1, "history": [{"film": "f1", "label": "5"}]}, "the label is 5, expected a number"),
        (
            {"top_k": 1, "history": [{"film": "f1", "label": 1, "user": "u1"}]},
            "history 0 has column 'user', the user's own",
        ),
        ({"top_k": 1, "history": [{"film": "f400", "label": 1}]}, "request 0, history 0, column 'film': 'f400' was"),
        ({"top_k": 1, "history": [{"colour": "red", "label": 1}]}, "history 0: column 'colour' is not in the schema"),
        ({"columns": {"user": "u1"}, "top_k": 1, "history": []}, "the history has no column to replace: user"),
    ],
)
def test_a_request_that_is_not_as_it_should_be_is_refused(regressor, request_, sentence):
    with pytest.raises(DataError, match=sentence):
        regressor.recommend([request_])


def test_a_classifiers_history_has_labels_of_0_and_1(catalogue):
    recommender = Recommender(make_model("binary_classifier"), catalogue, Encoder(SCHEMA, labels="none"))
    with pytest.raises(DataError, match="request 0, history: label 0 is 5, expected 0 or 1"):
        recommender.recommend([{"top_k": 1, "history": [{"film": "f1", "label": 5}]}])


def test_which_column_a_history_is_of_has_to_be_clear(tmp_path):
    schema = TableSchema((
        Column("user", "categorical", ("a", "b")),
        Column("device", "categorical", ("phone", "tv")),
        Column("shop", "hashed", buckets=3),
        Column("film", "categorical", ("f0", "f1")),
    ))  # fmt: skip
    random = np.random.default_rng(1)
    d = schema.feature_dim
    model = Model("regressor", 0.0, np.zeros(d, np.float32), random.standard_normal((d, 2)).astype(np.float32))
    (tmp_path / "c.csv").write_text("film\nf0\nf1\n")
    encoder = Encoder(schema, labels="none")
    recommender = Recommender(model, Catalogue.read(read_tables([tmp_path / "c.csv"]), encoder, d), encoder)

    def ask(**members):
        return recommender.recommend([{"top_k": 2, "history": [{"film": "f0", "label": 1}], **members}])[0]

    with pytest.raises(DataError, match="the history may belong to user or to device or to shop: give all but one"):
        ask(columns={})
    of_user = ask(columns={"device": "tv", "shop": "x"})
    assert ask(columns={"device": "tv", "shop": "x"}, history_of="user").scores.tolist() == of_user.scores.tolist()
    assert ask(columns={}, history_of="shop").scores.tolist() != of_user.scores.tolist()
    with pytest.raises(DataError, match="the history has no column to replace: user, device, shop was in training"):
        ask(columns={"user": "a"}, history_of="user")


def test_without_a_schema_contexts_are_feature_ids(tmp_path):
    model = make_model()
    (tmp_path / "catalogue.csv").write_text("features\n" + "\n".join(map(str, range(31, 31 + N_FILMS))) + "\n")
    recommender = Recommender(model, Catalogue.read(read_tables([tmp_path / "catalogue.csv"]), None, model.feature_dim))
    (found,) = recommender.recommend([{"context": {"keys": [3], "values": [1]}, "top_k": 3, "explain": 1}])
    rows = [{"columns": {"user": "u3", "film": f"f{film}"}} for film in range(N_FILMS)]
    full = model.predict(decode_named(rows, Encoder(SCHEMA, labels="none"), partial=True))
    assert found.items.tolist() == np.argsort(-full, kind="stable")[:3].tolist()
    assert found.columns[0] == {"features": str(31 + found.items[0])}
    assert found.explanations[0]["features"][0]["name"].isdecimal()
    for members in ({"columns": {"user": "u1"}}, {"history": []}):
        with pytest.raises(DataError, match="has columns, but the model has no schema"):
            recommender.recommend([{"top_k": 3, **members}])


def test_reasons_for_too_much_are_refused(regressor, monkeypatch):
    monkeypatch.setattr("fm_core.analysis.recommendation.MOST_PAIRS", 1000)
    with pytest.raises(DataError, match="explanations are limited: the rows have more than 1000 pairs"):
        regressor.recommend([{"columns": {"user": "u1"}, "top_k": 300, "explain": 1}])
