"""Columns made fit to learn from: what is chosen, by twins of each kind, and that files, frames and requests agree."""

import collections
import datetime
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_core.errors import ConfigError, DataError
from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.requests.named_columns import decode_named, decode_named_csv
from fm_core.formats.tables import Encoder, TablePlan, TableSchema, fit_schema, frame_table
from fm_core.formats.tables.dates import FORMS, PARTS, Shared, form_of, part_of, seconds_of
from fm_core.formats.tables.fitting import bin_edges
from fm_core.formats.tables.schema import Column


def fitted(frame, **plan):
    return fit_schema([frame_table(frame)], TablePlan(fit=True, **plan)).schema


def rows_of(schema, frame):
    return Encoder(schema, labels="none").encode(frame_table(frame)).to_matrix().toarray()


def column_of(frame, name="x", **plan):
    return next(column for column in fitted(frame, **plan).columns if column.name == name)


def numbers(n=1000, seed=0):
    return np.random.default_rng(seed).gamma(2, 100, n).round(3)


def test_numbers_are_cut_into_bins_of_about_as_many_rows():
    x = numbers()
    column = column_of({"x": x})
    assert column.kind == "binned"
    assert column.n_features == len(column.edges) + 1
    assert 35 <= column.n_features <= 41
    found = rows_of(fitted({"x": x}), {"x": x})
    twin = [[float(a <= value < b) for a, b in zip((-np.inf, *column.edges), (*column.edges, np.inf), strict=True)]
            for value in x.astype(np.float32).astype(float)]  # fmt: skip
    assert (found == twin).all()
    assert found.sum(axis=0).max() < 3 * len(x) / column.n_features


@pytest.mark.parametrize(("n_rows", "n_bins"), [(1_000, 40), (7_000, 70), (30_000, 100)])
def test_more_rows_make_more_bins_up_to_a_hundred(n_rows, n_bins):
    assert n_bins - 5 <= column_of({"x": numbers(n_rows)}).n_features <= n_bins + 1
    assert column_of({"x": numbers(n_rows)}, bins={"x": 20}).n_features <= 21


def test_a_number_that_fills_a_bin_has_one_to_itself():
    x = np.concatenate([np.zeros(900), np.arange(1, 1001)])
    edges = bin_edges(x, 20)
    assert edges[0] == 0.5
    assert 8 <= len(edges) <= 20
    assert bin_edges(np.repeat([1.0, 2.0, 7.0], 50), 40) == (1.5, 4.5)


def test_a_number_of_few_rows_that_fills_a_bin_beside_a_frequent_zero_has_one_to_itself():
    gains = np.concatenate([np.zeros(20_000), np.arange(1, 1001), np.full(60, 500.0), np.full(60, 501.0)])
    edges = bin_edges(gains, 100)
    assert {0.5, 499.5, 500.5, 501.5} <= set(edges)
    assert len(edges) <= 101


def test_columns_of_one_number_that_follow_each_other_are_one_group():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4))
    gap = np.where(rng.random(100) < 0.2, np.nan, x[:, 1])
    texts = np.array(["a", "b", "c", "d"])[rng.integers(0, 4, 100)].tolist()
    schema = fitted({"x": x[:, 0], "gap": gap, "text": texts, "y": x[:, 2], "z": x[:, 3]})
    assert [column.n_features for column in schema.columns] == [1, 2, 4, 1, 1]
    assert schema.groups == "3,4,2"


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300), st.integers(1, 50)
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_edges_rise_between_numbers_and_are_about_as_many_as_wanted(values, n_bins):
    x = np.array(values, np.float32).astype(np.float64)
    edges = bin_edges(x, n_bins)
    assert list(edges) == sorted(set(edges))
    assert not set(edges) - set((np.unique(x)[1:] + np.unique(x)[:-1]) / 2)
    assert len(edges) + 1 <= max(3 * n_bins, 2)


def test_few_rows_are_scaled_and_a_long_tail_is_taken_by_its_logarithm():
    x = np.arange(100.0)
    column = column_of({"x": x})
    assert (column.kind, column.log) == ("scaled", False)
    assert np.allclose(rows_of(fitted({"x": x}), {"x": x})[:, 0], (x - x.mean()) / x.std())
    tail = np.exp(np.arange(100) / 10)
    assert column_of({"x": tail}).log
    values = np.log1p(tail.astype(np.float32).astype(float))
    assert np.allclose(
        rows_of(fitted({"x": tail}), {"x": tail})[:, 0], (values - values.mean()) / values.std(), atol=1e-5
    )
    # beyond what was seen: as the nearest that was
    far = rows_of(fitted({"x": x}), {"x": [-1e6, 1e6]})
    assert np.allclose(far[:, 0], [-x.mean() / x.std(), (99 - x.mean()) / x.std()])


def test_a_truth_is_one_feature():
    schema = fitted({"x": [0, 1, 1, None] * 100})
    assert schema.feature_names() == ["x", "x: missing"]
    assert rows_of(schema, {"x": [0, 1, None, 7]}).tolist() == [[0, 0], [1, 0], [0, 1], [1, 0]]
    assert fitted({"x": [True, False] * 200}).feature_dim == 1
    assert column_of({"x": [0, 1] * 200}, bins={"x": 2}).kind == "binned"


def test_what_the_user_says_goes():
    x = numbers()
    assert column_of({"x": x}, bins={"x": 5}).n_features <= 6
    assert column_of({"x": x}, scaled=["x"]).kind == "scaled"
    assert column_of({"x": x}, log=["x"]).log
    assert column_of({"x": x}, numeric=["x"]).kind == "numeric"
    assert column_of({"x": x}, categorical=["x"], min_count=1).kind == "categorical"
    assert column_of({"x": x}, hashed={"x": 7}).n_features == 7
    assert column_of({"x": ["2024-01-01", "2024-05-01"] * 9}, categorical=["x"]).kind == "categorical"
    with pytest.raises(DataError, match="expected dates in one format"):
        column_of({"x": x.astype(str)}, dates=["x"])
    with pytest.raises(DataError, match="expected more than -1 for its logarithm"):
        column_of({"x": x - 10}, log=["x"])


def test_a_missing_cell_is_a_feature_where_training_had_some():
    x = numbers(400)
    x[::7] = np.nan
    for plan in ({}, {"scaled": ["x"]}):
        schema = fitted({"x": x}, **plan)
        assert schema.columns[0].gaps
        assert schema.feature_names()[-1] == "x: missing"
        found = rows_of(schema, {"x": x})
        assert (found[:, -1] == np.isnan(x)).all()
        assert (found[np.isnan(x), :-1] == 0).all()
    whole = fitted({"x": numbers(400)})
    assert not whole.columns[0].gaps
    assert rows_of(whole, {"x": [np.nan]}).sum() == 0  # nothing was learned of it, and nothing is said
    texts = ["a", "b", None] * 9
    assert rows_of(fitted({"x": texts}), {"x": ["b", "", "c"]}).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_rare_texts_share_a_feature_that_texts_never_seen_have_too():
    texts = ["a"] * 5 + ["b"] * 5 + ["c", "d", "e"]
    schema = fitted({"x": texts})
    assert schema.feature_names() == ["x=a", "x=b", "x: other"]
    assert rows_of(schema, {"x": ["b", "c", "never"]}).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert fitted({"x": texts}, min_count=1).feature_names()[-1] == "x=e"
    # without rare ones there is no such feature, and what was never seen is none
    assert rows_of(fitted({"x": ["a", "b"] * 9}), {"x": ["never"]}).tolist() == [[0, 0]]


def test_more_texts_than_the_limit_are_hashed():
    column = column_of({"x": [f"t{i}" for i in range(50)] * 2}, most_categories=40)
    assert (column.kind, column.buckets) == ("hashed", 1 << 20)
    assert column_of({"x": [f"t{i}" for i in range(50)] * 2}, most_categories=50).kind == "categorical"


def test_ids_that_are_numbers_are_no_quantities():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 300, 5000)
    assert column_of({"user_id": ids, "y": ids}, "user_id").kind == "categorical"
    assert column_of({"x": ids}).kind == "categorical"  # nearly all numbers between occur
    assert column_of({"age": rng.integers(18, 90, 5000)}, "age").kind == "binned"
    assert column_of({"population": rng.integers(0, 40_000, 5000)}, "population").kind == "binned"
    assert column_of({"userId": rng.integers(0, 9, 500)}, "userId").kind == "categorical"
    assert column_of({"valid": rng.integers(0, 9, 500)}, "valid").kind == "binned"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["a"] * 300, "'a' in every row"),
        ([7] * 300, "7 in every row"),
        ([f"t{i}" for i in range(300)], "another text in every row"),
        ([None] * 300, "empty"),
        (["2024-01-01"] * 300, "the same moment in every row"),
    ],
)
def test_what_tells_nothing_is_left_out(cells, why):
    schema = fitted({"x": cells, "z": ["a", "b", "c"] * 100})
    assert [column.name for column in schema.columns] == ["z"]
    assert schema.left_out == (f"x: {why}",)
    with pytest.raises(DataError, match=f"no column is useful as a feature, expected at least one: x {why}"):
        fitted({"x": cells})


# --- dates -----------------------------------------------------------------------------------


MOMENTS = [datetime.datetime(2021, 1, 1) + datetime.timedelta(hours=37 * i) for i in range(500)]


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("iso", lambda at: at.isoformat()),
        ("iso with zone", lambda at: at.isoformat(" ") + "Z"),
        ("iso with zone", lambda at: at.replace(tzinfo=datetime.UTC)),
        ("iso", lambda at: at),
        ("iso", lambda at: np.datetime64(at)),
        ("seconds", lambda at: int(at.replace(tzinfo=datetime.UTC).timestamp())),
        ("milliseconds", lambda at: 1000 * int(at.replace(tzinfo=datetime.UTC).timestamp())),
        ("yyyymmdd", lambda at: int(at.strftime("%Y%m%d"))),
        ("year/month/day", lambda at: at.strftime("%Y/%m/%d")),
        ("day/month/year", lambda at: at.strftime("%d/%m/%Y")),
        ("month/day/year", lambda at: at.strftime("%m/%d/%Y")),
        ("day-month-year", lambda at: at.strftime("%d-%b-%Y")),
        ("day.month.year", lambda at: at.strftime("%-d.%-m.%Y")),
    ],
)
def test_dates_become_their_age_and_parts_of_the_calendar(form, written):
    cells = [written(at) for at in MOMENTS]
    schema = fitted({"x": cells})
    column = schema.columns[0]
    has_hours = form in ("iso", "iso with zone", "seconds", "milliseconds")
    assert (column.kind, column.form) == ("date", form)
    assert column.parts == (("month", "weekday", "hour") if has_hours else ("month", "weekday"))
    names = schema.feature_names()
    for at, row in zip(MOMENTS, rows_of(schema, {"x": cells}), strict=True):
        there = [name for name, value in zip(names, row, strict=True) if value]
        assert f"x: month {at.month}" in there
        assert f"x: weekday {at.isoweekday()}" in there
        assert not has_hours or f"x: hour {at.hour}" in there
        assert len(there) == 1 + len(column.parts)


def test_times_with_a_zone_and_times_without_are_no_column_of_dates():
    """In every carrier that can mix them; how far one is from the other, nobody said."""
    zoned = [at.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2))) for at in MOMENTS]
    mixed = [a if i % 3 else b for i, (a, b) in enumerate(zip(MOMENTS, zoned, strict=True))]
    for cells in (mixed, [at.isoformat() for at in mixed], [at.isoformat(" ").replace("+02:00", "Z") for at in mixed]):
        schema = fitted({"x": cells, "y": numbers(500)})
        assert schema.left_out == ("x: another text in every row, times with a zone and others without",)
        with pytest.raises(DataError, match="column 'x' holds times with a zone and others without such as '202"):
            fitted({"x": cells}, dates=["x"])
    for learned, asked in ((MOMENTS, zoned), (zoned, MOMENTS)):
        schema = fitted({"x": learned})
        with pytest.raises(
            DataError, match=r"row 0, column 'x': found .*, expected a date in the format of the others"
        ):
            rows_of(schema, {"x": asked[:2]})


def test_texts_that_only_look_like_dates_are_texts():
    for cells in (["2024-01-01", "soon"], ["2024-02-30"], ["1.2.3"], ["12345678"], ["99999999"], ["1999"], []):
        assert form_of(cells) is None
    schema = fitted({"x": ["2024-01-01", "2024-06-01", None] * 9})
    assert schema.columns[0].gaps
    with pytest.raises(DataError, match="row 1, column 'x': found 'soon', expected a date in the format of"):
        rows_of(schema, {"x": ["2024-03-01", "soon"]})
    # beyond all that was seen
    assert rows_of(schema, {"x": ["1800-01-01", "2400-01-01"]}).sum() == 2 * (1 + len(schema.columns[0].parts))


def visits(n=400, seed=0):
    """Moments of films rated in sittings: some at the same second, most within half an hour."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(10**9, 1.1 * 10**9, n // 8)[rng.integers(n // 8, size=n)]
    return (starts + np.where(rng.random(n) < 0.8, 60 * rng.integers(0, 3, n), rng.integers(0, 1500, n))).tolist()


def test_moments_and_half_hours_that_several_rows_share_are_features():
    cells = visits()
    schema = fitted({"x": cells})
    column = schema.columns[0]
    asked = [*cells, 10**9 + 7, cells[0] + 1]
    of_moment, of_half = (collections.Counter(at // unit for at in cells) for unit in (1, 1800))
    assert column.moments == tuple(sorted(at for at, n in of_moment.items() if n > 1))
    assert column.sessions == tuple(sorted(at for at, n in of_half.items() if n > 1))
    assert min(len(column.moments), len(column.sessions)) > 20
    names = schema.feature_names()
    for at, row in zip(asked, rows_of(schema, {"x": asked}), strict=True):
        there = [name for name, value in zip(names, row, strict=True) if value]
        shown = (
            datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S").removesuffix("T00:00:00")
        )
        half = datetime.datetime.fromtimestamp(at // 1800 * 1800, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        assert (f"x at {shown}" in there) == (of_moment[at] > 1)
        assert (f"x in the half hour from {half.removesuffix('T00:00:00')}" in there) == (of_half[at // 1800] > 1)
        assert len(there) == 1 + len(column.parts) + (of_moment[at] > 1) + (of_half[at // 1800] > 1)
    assert column.groups == (column.n_features - len(column.moments) - len(column.sessions), len(column.moments),
                             len(column.sessions))  # fmt: skip
    words = f"{len(column.moments)} moments that rows share, {len(column.sessions)} half hours that rows share"
    assert words in column.of_kind.words(column)


def test_a_missing_moment_is_the_last_feature_also_behind_half_hours():
    cells = [*visits(), None]
    schema = fitted({"x": cells})
    assert schema.columns[0].gaps
    assert schema.columns[0].sessions
    assert sum(schema.columns[0].groups) == schema.feature_dim
    row = rows_of(schema, {"x": cells})[-1]
    assert np.flatnonzero(row).tolist() == [schema.feature_dim - 1]
    assert schema.feature_names()[-1] == "x: missing"


def of_parts(seconds, most, size):
    shared = Shared(most)
    for start in range(0, len(seconds), size):
        shared.add(np.array(seconds[start : start + size], float))
    return shared.found(5)


def test_shared_moments_are_the_same_in_whatever_parts_they_come(monkeypatch):
    cells = visits(2000)
    whole = of_parts(cells, 10**6, len(cells))
    assert min(map(len, whole)) > 100
    monkeypatch.setattr("fm_core.formats.tables.dates.MANY", 16)
    for size in (1, 7, 100, 1999):
        assert of_parts(cells, 10**6, size) == whole
    n = len(set(cells))
    assert of_parts(cells, n, 100) == whole
    assert of_parts(cells, n - 1, 100) == ((), ())
    assert of_parts([], 10, 1) == ((), ())


def test_columns_of_dates_share_what_is_looked_at(monkeypatch):
    cells = visits()
    monkeypatch.setattr("fm_core.formats.tables.fitting.MOST_MOMENTS", 2 * len(set(cells)) - 1)
    assert column_of({"x": cells}).moments
    assert not column_of({"x": cells, "z": cells}).moments


def test_every_moment_has_a_name_of_its_own():
    at = [0.25, 0.5, 1e9, 1e9 + 0.125, -1.5, 86_400.0, 1e12, -(2.0**63), 1e300, 1e308]
    columns = (
        Column("x", "date", form="seconds", parts=(), edges=(), moments=tuple(sorted(at)), sessions=(-4, 2**52)),
    )
    names = TableSchema(columns, None).feature_names()
    assert len(set(names)) == len(names) == 1 + len(at) + 2
    assert {"x at 1970-01-01T00:00:00.25", "x at 1969-12-31T23:59:58.5", "x at 2001-09-09T01:46:40.125",
            "x at 1970-01-02", "x in the half hour from 1969-12-31T22:00:00"} < set(names)  # fmt: skip
    assert not [name for name in names if "NaT" in name]
    edges = Column("x", "date", form="seconds", parts=(), edges=(-1e308, 1e300, 1e308))
    assert TableSchema((edges,), None).feature_names()[0] == "x < day -1e+308"


DAYS = [datetime.date(2021, 1, 1) + datetime.timedelta(days=i * i % 149) for i in range(1000)]


def test_of_days_moments_alone_are_features_and_few_have_their_ranges():
    column = column_of({"x": DAYS})
    assert (len(column.moments), column.sessions) == (len(set(DAYS)), ())
    few = column_of({"x": [DAYS[i % 9] for i in range(1000)]})
    assert (few.moments, few.sessions, len(few.edges)) == ((), (), 8)


@pytest.mark.parametrize(
    ("cells", "plan"),
    [
        (visits(), {"moments": False}),
        (visits(150), {}),
        (list(range(10**9, 10**9 + 9000 * 400, 9000)), {}),
        ([*range(10**9, 10**9 + 9000 * 400, 9000), *visits(300)], {}),
    ],
    ids=["not wanted", "few rows", "none shared", "most not shared"],
)
def test_moments_are_no_features(cells, plan):
    column = column_of({"x": cells}, **plan)
    assert column.kind == "date"
    assert (column.moments, column.sessions) == ((), ())


@given(st.datetimes(datetime.datetime(1905, 1, 1), datetime.datetime(2400, 1, 1)))
def test_parts_are_those_of_the_calendar(at):
    seconds = seconds_of([at.isoformat()], "iso")
    found = {part: int(part_of(seconds, part)[0]) for part in PARTS}
    assert found == {"month": at.month - 1, "day": at.day - 1, "weekday": at.weekday(), "hour": at.hour}


def test_every_form_refuses_what_is_no_date():
    for form in FORMS:
        assert np.isnan(seconds_of(["x", "", "nan", "1e400", "-"], form)).all()


# --- lists, weights, labels ------------------------------------------------------------------


def test_lists_and_their_weights():
    cells = ["a:1|b:.5", "b:2|b:1", "", "c:4|a:-1"] * 3
    schema = fitted({"x": cells}, weights={"x": ":"})
    assert schema.feature_names() == ["x=a", "x=b", "x=c", "x: missing"]
    assert rows_of(schema, {"x": cells[:4]}).tolist() == [[1, 0.5, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1], [-1, 0, 4, 0]]
    with pytest.raises(DataError, match="row 0, column 'x': found 'q', expected an id, ':' and a number"):
        rows_of(schema, {"x": ["q"]})
    lists = fitted({"x": [["a", "b"], ["b"], [], ["a", "rare"]] * 1 + [["a"]] * 3})
    assert lists.feature_names() == ["x=a", "x=b", "x: other", "x: missing"]
    assert rows_of(lists, {"x": [["rare", "b"], []]}).tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("cells", "classes", "labels"),
    [
        (["yes", "no", "yes"], ("no", "yes"), [1, 0, 1]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        ([1, -1, -1], ("-1", "1"), [1, 0, 0]),
        ([2, 10, 2], ("2", "10"), [0, 1, 0]),
        ([0.0, 1.0, 1.0], (), [0, 1, 1]),
        ([1, 2, 3], (), [1, 2, 3]),
    ],
)
def test_two_labels_are_classes_by_their_names(cells, classes, labels):
    frame = {"x": ["a", "b", "a"], "y": cells}
    fit = fit_schema([frame_table(frame)], TablePlan(label="y", fit=True))
    assert fit.schema.label_classes == classes
    assert fit.label.predictor_type == ("regressor" if len(set(cells)) == 3 else "binary_classifier")
    assert Encoder(fit.schema).encode(frame_table(frame)).labels.tolist() == labels
    again = TableSchema.from_json(fit.schema.to_json())
    assert Encoder(again).encode(frame_table(frame)).labels.tolist() == labels


def test_the_class_that_is_1_can_be_named_and_others_are_refused():
    frame = {"x": ["a", "b"] * 2, "y": ["yes", "no"] * 2}
    schema = fitted(frame, label="y", positive="no")
    assert schema.label_classes == ("yes", "no")
    with pytest.raises(ConfigError, match="--positive is 'maybe', expected one of no, yes"):
        fitted(frame, label="y", positive="maybe")
    with pytest.raises(DataError, match="row 1, column 'y': the label is 'maybe', expected 'yes' or 'no'"):
        Encoder(schema).encode(frame_table({"x": ["a", "b"], "y": ["yes", "maybe"]}))
    with pytest.raises(DataError, match="the labels are texts, and more than two"):
        fitted({"x": ["a", "b", "c"], "y": ["p", "q", "r"]}, label="y")
    with pytest.raises(DataError, match="row 1, column 'y': the label is None, expected one in every row"):
        fitted({"x": ["a", "b"], "y": ["p", None]}, label="y")
    with pytest.raises(DataError, match="expected numbers for a regressor"):
        fitted(frame, label="y", predictor_type="regressor")


# --- the same everywhere -----------------------------------------------------------------------


def table(n=600, seed=1):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "price": rng.gamma(2, 50, n).round(2), "n": rng.integers(0, 5, n),
            "city": rng.choice(["oslo", "rome", "ü"], n),
            "at": pd.Timestamp("2022-03-01") + pd.to_timedelta(rng.integers(0, 9e6, n), unit="s"),
            "tags": rng.choice(["a|b", "b", "c|a"], n), "ok": rng.random(n) < 0.5, "y": rng.random(n).round(3),
        }
    )  # fmt: skip
    frame.loc[::9, "price"] = np.nan
    frame.loc[::11, "city"] = None
    frame.loc[::13, "at"] = pd.NaT
    return frame


PLAN = TablePlan(label="y", fit=True, several={"tags": "|"})


def test_files_frames_and_requests_give_the_same_rows(tmp_path):
    frame = table()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    opened = {name: open_rows([tmp_path / name], None, Options(plan=PLAN)) for name in ("t.csv", "t.parquet")}
    schema = opened["t.csv"].schema
    assert schema == opened["t.parquet"].schema == fit_schema([frame_table(frame)], PLAN).schema
    wanted = rows_of(schema, frame)
    for each in opened.values():
        found = np.concatenate([batch.to_matrix().toarray() for batch in each.batches()])
        assert (found == wanted).all()
    encoder = Encoder(TableSchema.from_json(schema.to_json()), labels="none")
    cells = json.loads(frame.drop(columns="y").to_json(orient="records", date_format="iso"))
    assert (decode_named([{"columns": row} for row in cells], encoder).to_matrix().toarray() == wanted).all()
    body = frame.drop(columns="y").to_csv(index=False).encode()
    of_csv = np.concatenate([batch.to_matrix().toarray() for batch in decode_named_csv(body, encoder)])
    assert (of_csv == wanted).all()
    assert (rows_of(schema, table(seed=2)).sum(axis=1) > 0).all()


def test_a_column_that_an_instance_leaves_out_is_no_feature(tmp_path):
    schema = fit_schema([frame_table(table())], PLAN).schema
    encoder = Encoder(schema, labels="none")
    both = decode_named(
        [{"columns": {"city": "oslo"}}, {"columns": {"price": 7.5}}], encoder, partial=True
    ).to_matrix().toarray()  # fmt: skip
    alone = [decode_named([{"columns": c}], encoder, partial=True).to_matrix().toarray() for c in (
        {"city": "oslo"}, {"price": 7.5})]  # fmt: skip
    assert (both == np.concatenate(alone)).all()
    assert both.sum(axis=1).tolist() == [1, 1]


def test_durations_are_their_seconds():
    spans = pd.to_timedelta(np.arange(50) * 90, unit="s").to_series(index=range(50))
    spans[3] = pd.NaT
    frame = pd.DataFrame({"x": spans})
    wanted = frame["x"].dt.total_seconds().to_numpy(np.float32)[:, np.newaxis]
    objects = {"x": [None if pd.isna(span) else span.to_pytimedelta() for span in spans]}
    for each in (frame, objects):
        assert np.array_equal(frame_table(each).numbers([0])[0], wanted, equal_nan=True)
    pyarrow = pytest.importorskip("pyarrow")
    arrow = frame_table(pyarrow.Table.from_pandas(frame))
    assert np.array_equal(arrow.numbers([0])[0], wanted, equal_nan=True)
    assert fitted(frame) == fit_schema([arrow], TablePlan(fit=True)).schema


def test_only_chosen_rows_are_looked_at():
    frame = {"x": np.arange(1000.0), "t": ["a", "b"] * 250 + ["c", "d"] * 250}
    fit = fit_schema([frame_table(frame)], TablePlan(fit=True), lambda table, first: np.arange(1000) < 500)
    assert fit.n_rows == 500
    x, t = fit.schema.columns
    assert max(x.edges) < 500
    assert t.categories == ("a", "b")


def test_tables_in_parts_are_as_one():
    frame = table(3000)
    whole = fit_schema([frame_table(frame)], PLAN).schema
    parts = fit_schema([frame_table(frame[i : i + 700]) for i in range(0, 3000, 700)], PLAN).schema
    assert parts == whole
