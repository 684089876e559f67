"""`fm train`, `evaluate` and `predict`: from a table to answers, what is said on the way, and what is refused."""

import gzip
import io
import json
import math
import re
import subprocess
import sys
import tarfile

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from fm_core.artifact.model_file import load_model, read_meta
from fm_core.batch import Batch
from fm_core.cli import main
from fm_core.formats.draws import draws
from fm_core.formats.registry.inputs import Options
from fm_core.formats.tables import TableSchema
from fm_core.formats.tables.learner import TablePlan
from fm_core.tabular.figures import Scored, figures
from fm_core.tabular.job import Job, read_rows, save_trained, train
from fm_core.tabular.rows import KeptRows
from fm_core.training.callbacks import Silent
from tests.conftest import ROOT

FEW = ["--epochs", "8", "--num-threads", "1", "--no-report"]


def purchases(n=1200, seed=0):
    """A table with what goes wrong by itself: a year, a long tail, a date, gaps, rare cities, a label of texts."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["oslo", "rome", "lima"], n).astype(object)
    rare = np.flatnonzero(rng.random(n) < 0.03)
    city[rare] = [f"town {i}" for i in rare]
    year, amount = rng.integers(1990, 2024, n), np.exp(rng.normal(5, 2, n)).round(2)
    day = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 500, n), unit="D")
    z = 2 * (city == "oslo") - (year < 2005) + (amount > 150) * 1.5 + (day.month > 6) - 1.5
    frame = pd.DataFrame({"id": np.arange(n) * 7 + 10_000, "city": city, "year": year, "amount": amount, "day": day})
    frame["bought"] = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * z)), "yes", "no")
    frame.loc[::17, "amount"] = np.nan
    return frame


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "sales.csv"
    purchases().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(csv, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m"
    assert main(["train", str(csv), "--label", "bought", "--out", str(out), *FEW, "--quiet"]) == 0
    return out


def said(capfd, *arguments):
    status = main([*map(str, arguments)])
    out, err = capfd.readouterr()
    return status, out, err


def refused(capfd, *arguments):
    status, _, err = said(capfd, *arguments)
    assert status == 1
    assert err.count("\n") == 1, err
    return err


def test_a_table_becomes_a_model_that_beats_its_base_rate(csv, tmp_path, capfd):
    out = tmp_path / "m"
    status, text, err = said(capfd, "train", csv, "--label", "bought", "--out", out, *FEW)
    assert (status, err) == (0, "")
    names = ["baseline.json", "metrics.json", "model_algo-1", "schema.json", "spread.npz"]
    assert sorted(path.name for path in out.iterdir()) == names
    metrics = json.loads((out / "metrics.json").read_text())
    found = metrics["held_out"]
    assert found["cross_entropy"]["model"] < 0.85 * found["cross_entropy"]["baseline"]
    assert found["auc"]["model"] > 0.8
    assert metrics["rows"]["learned"] + metrics["rows"]["held_out"] == 1200
    schema = TableSchema.load(out / "schema.json")
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {"city": "categorical", "year": "binned", "amount": "binned", "day": "date"}
    assert any(text.startswith("id:") for text in schema.left_out)
    assert schema.label_classes == ("no", "yes")
    assert load_model(out).feature_dim == schema.feature_dim
    for word in ("amount", "held out at random", "cross entropy", "base rate", "no is 0, yes is 1"):
        assert word in text, word
    held_out = figures_of(out, purchases()[draws(0, np.arange(1200)) < 0.1])
    assert f"{held_out['cross_entropy'].value:.4f}" == f"{found['cross_entropy']['model']:.4f}"


def figures_of(folder, frame):
    """The slow way: encode, score, and compute."""
    from fm_core.formats.tables import encode_table

    rows, labels = encode_table(frame, TableSchema.load(folder / "schema.json"))
    model = load_model(folder)
    w, V = np.array(model.w, float), np.array(model.V, float)
    x = rows.toarray().astype(float)
    z = model.w0 + x @ w + 0.5 * (((x @ V) ** 2).sum(1) - (x**2 @ V**2).sum(1))
    scored = Scored()
    scored.add((1 / (1 + np.exp(-z))).astype(np.float32), labels)
    return figures(scored, is_classifier=True, mean=0.5)


@pytest.mark.parametrize("ending", [".parquet", ".tsv", ".csv.gz", ".arrow"])
def test_every_format_gives_the_same_model(ending, csv, model, tmp_path):
    path = tmp_path / f"t{ending}"
    frame = purchases()
    if ending == ".arrow":
        frame.to_feather(path)
    elif ending == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    assert main(["train", str(path), "--label", "bought", "--out", str(tmp_path / "m"), *FEW, "--quiet"]) == 0
    assert TableSchema.load(tmp_path / "m/schema.json") == TableSchema.load(model / "schema.json")
    assert (load_model(tmp_path / "m").V == load_model(model).V).all()


def test_several_files_and_standard_input_are_one_table(csv, model, tmp_path):
    frame = purchases()
    parts = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for path, part in zip(parts, (frame[:500], frame[500:]), strict=True):
        part.to_csv(path, index=False)
    assert main(["train", *map(str, parts), "--label", "bought", "--out", str(tmp_path / "a"), *FEW, "--quiet"]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "fm_core", "train", "-", "--from", "csv", "--label", "bought", "--out", "b", *FEW],
        input=gzip.compress(csv.read_bytes()), cwd=tmp_path, capture_output=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in "ab":
        assert (load_model(tmp_path / name).V == load_model(model).V).all()


def test_a_tar_is_what_a_job_leaves(csv, model, tmp_path, capfd):
    out = tmp_path / "model.tar.gz"
    assert main(["train", str(csv), "--label", "bought", "--out", str(out), *FEW, "--quiet"]) == 0
    with tarfile.open(out) as packed:
        assert packed.getnames() == ["baseline.json", "metrics.json", "model_algo-1", "schema.json", "spread.npz"]
    capfd.readouterr()
    of_tar, of_folder = (said(capfd, "evaluate", path, csv, "--json")[1] for path in (out, model))
    assert json.loads(of_tar) == json.loads(of_folder)
    assert said(capfd, "predict", out, csv)[1] == said(capfd, "predict", model, csv)[1]


def test_numbers_of_any_scale_are_predicted(tmp_path, capfd):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(800) * 9, "c": rng.choice(["a", "b"], 800)})
    frame["price"] = 1e5 * frame.x + 3e5 * (frame.c == "a") + 4e6
    frame.to_csv(tmp_path / "t.csv", index=False)
    status, text, _ = said(capfd, "train", tmp_path / "t.csv", "--label", "price", "--out", tmp_path / "m", *FEW)
    assert status == 0
    assert "R2" in text
    found = json.loads((tmp_path / "m/metrics.json").read_text())["held_out"]
    assert found["r2"]["model"] > 0.97
    assert load_model(tmp_path / "m").predictor_type == "regressor"


def test_a_time_or_a_group_can_be_held_out(csv, tmp_path, capfd):
    frame = purchases()
    for name, how in {"t": ["--time-column", "day"], "g": ["--group", "year"]}.items():
        status, text, _ = said(capfd, "train", csv, "--label", "bought", "--out", tmp_path / name, *FEW, *how)
        assert status == 0
        assert (f"held out {'the latest by day' if name == 't' else 'by year'}") in text
    n_held = json.loads((tmp_path / "t/metrics.json").read_text())["rows"]["held_out"]
    assert n_held == (frame.day >= frame.day.sort_values().iloc[math.floor(0.9 * 1199)]).sum()
    # what was held out took no part in what columns became
    edges = next(c for c in TableSchema.load(tmp_path / "t/schema.json").columns if c.name == "day").edges
    learned = frame.day[frame.day < frame.day.sort_values().iloc[math.floor(0.9 * 1199)]]
    assert max(edges) * 86400 < learned.max().timestamp()
    status, text, _ = said(capfd, "train", csv, "--label", "bought", "--out", tmp_path / "n", *FEW, "--holdout", "0")
    assert status == 0
    assert "1,200 rows to learn from, 0 held out" in text
    assert json.loads((tmp_path / "n/metrics.json").read_text())["held_out"] is None


@pytest.mark.parametrize("form", ["libsvm", "npz", "recordio"])
def test_rows_of_feature_ids_are_learned_too(form, csv, tmp_path, capfd):
    assert main(["convert", str(csv), str(tmp_path / f"t.{form}"), "--label", "bought", "--fit", "--quiet"]) == 0
    status, text, _ = said(capfd, "train", tmp_path / f"t.{form}", "--out", tmp_path / "m", *FEW)
    assert status == 0
    assert "cross entropy" in text
    assert not (tmp_path / "m/schema.json").exists()
    assert "--time-column and --group" in refused(
        capfd, "train", tmp_path / f"t.{form}", "--out", tmp_path / "x", "--group", "a"
    )


def test_hyperparameters_are_kept_and_wrong_ones_refused(csv, tmp_path, capfd):
    out = tmp_path / "m"
    given = ["--set", "num_factors=3", "--solver", "minibatch", "--epochs", "2", "--no-report", "--quiet"]
    assert main(["train", str(csv), "--label", "bought", "--out", str(out), *given]) == 0
    stored = read_meta(out)["training_parameters"]
    assert (stored["num_factors"], stored["solver"], stored["epochs"]) == ("3", "minibatch", "2")
    assert "did you mean num_factors" in refused(
        capfd, "train", csv, "--label", "bought", "--out", tmp_path / "x", "--set", "num_factor=3"
    )
    assert "expected one of" in refused(
        capfd, "train", csv, "--label", "bought", "--out", tmp_path / "x", "--solver", "magic"
    )


# --- answers ---------------------------------------------------------------------------------


def test_answers_take_ids_and_labels_along_and_name_classes(csv, model, tmp_path, capfd):
    status, text, _ = said(capfd, "predict", model, csv, "--with", "id,bought", "--metrics")
    assert status == 0
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame.columns) == ["id", "bought", "score", "predicted_class"]
    assert frame.id.tolist() == purchases().id.tolist()
    assert frame.bought.tolist() == purchases().bought.tolist()
    assert (frame.predicted_class == np.where(frame.score >= 0.5, "yes", "no")).all()
    plain = said(capfd, "predict", model, csv)[1]
    assert [float(line) for line in plain.split()] == frame.score.tolist()
    assert said(capfd, "predict", model, csv, "-o", tmp_path / "s.csv")[0] == 0
    assert (tmp_path / "s.csv").read_text().startswith("score,predicted_class\n")
    assert said(capfd, "predict", model, csv, "-o", tmp_path / "s.jsonl")[0] == 0
    first = json.loads((tmp_path / "s.jsonl").read_text().splitlines()[0])
    assert first == {"score": frame.score[0], "predicted_label": float(frame.score[0] >= 0.5),
                     "predicted_class": frame.predicted_class[0]}  # fmt: skip
    assert "there is no column 'x'" in refused(capfd, "predict", model, csv, "--with", "x")


def test_new_rows_never_fail_for_a_new_category_or_a_gap(model, tmp_path, capfd):
    frame = purchases()[:20].drop(columns=["bought", "id"])
    frame["city"], frame["year"], frame["day"] = "never seen", None, None
    frame.to_csv(tmp_path / "new.csv", index=False)
    status, text, err = said(capfd, "predict", model, tmp_path / "new.csv")
    told = f"{tmp_path / 'new.csv'}: column 'city': 20 of 20 cells are not in the schema\n"
    assert (status, err) == (0, told)
    assert len(text.split()) == 20


@pytest.mark.parametrize("along", [[], ["--with", "city"], ["--metrics"]], ids=" ".join)
def test_a_column_in_another_spelling_or_unit_is_warned_of(model, tmp_path, capfd, along):
    frame = purchases()[:20]
    few = frame["city"].where(frame.index > frame.index[9], "new")  # half of them
    for file, changes, sentence in (
        ("same.csv", {}, ""),
        ("few.csv", {"city": few}, ""),
        ("case.csv", {"city": frame["city"].str.upper()}, "'city': 20 of 20 cells are not in the schema"),
        ("unit.csv", {"year": frame["year"] * 1000}, "'year': 20 of 20 cells are outside the range"),
    ):
        frame.assign(**changes).to_csv(tmp_path / file, index=False)
        status, _, err = said(capfd, "predict", model, tmp_path / file, *along)
        assert status == 0
        lines = [line for line in err.splitlines() if "column" in line]
        assert len(lines) == bool(sentence)
        assert sentence in "".join(lines)


def test_evaluate_says_the_same_as_training(csv, model, tmp_path, capfd):
    held_out = purchases()[draws(0, np.arange(1200)) < 0.1]
    held_out.to_csv(tmp_path / "held.csv", index=False)
    found = json.loads(said(capfd, "evaluate", model, tmp_path / "held.csv", "--json")[1])
    assert found.pop("rows") == len(held_out)
    assert found == json.loads((model / "metrics.json").read_text())["held_out"]
    assert "base rate" in said(capfd, "evaluate", model, csv)[1]


# --- refused, in a sentence, with nothing left behind ------------------------------------------


def rows(*lines):
    return "\n".join(lines) + "\n"


BAD = {
    "no rows": ("", [], "found no rows|holds no rows"),
    "a header only": ("x,y\n", [], "holds no rows"),
    "one column": (rows("y", *"ab" * 99), [], "there is no column other than the label"),
    "all rows alike": (rows("x,y", *["a,1"] * 99), [], "no column is useful as a feature"),
    "a label that is constant": (rows("x,y", *["a,1", "b,1"] * 99), [], "the label is 1 in every training row"),
    "a label that is constant text": (rows("x,y", *["a,u", "b,u"] * 99), [], "the label is 'u' in every row"),
    "two columns of one name": (rows("x,x,y", "a,b,1"), [], "two columns are named 'x'"),
    "no such label": (rows("x,z", "a,1", "b,2"), [], "there is no column 'y', expected one of: x, z"),
    "a label that is missing": (
        rows("x,y", "a,1", "b,", "a,0"),
        [],
        "line 3, column 'y': the label is '', expected one",
    ),
    "three classes": (rows("x,y", "a,p", "b,q", "a,r"), [], "the labels are texts, and more than two"),
    "mixed types": (
        rows("x,y", *[f"{i},{i % 2}" for i in range(6000)], "soon,1"),
        [],
        "line 6002, .*: found 'soon'",
    ),
    "rows of other lengths": (rows("x,y", "a,1", "b"), [], "line 3: found 1 column"),
    "a name of 1,025 letters": (
        rows(f"{'x' * 1025},y", *["a,1", "b,0"] * 50),
        [],
        "no schema.json can hold these columns: column 0: name is",
    ),
    "no such time": (rows("x,y", *["a,1", "b,0"] * 50), ["--time-column", "x"], "neither numbers nor dates"),
    "no such group": (rows("x,y", *["a,1", "b,0"] * 50), ["--group", "q"], "there is no column 'q'"),
    "one time": (rows("x,t,y", *["a,1,1", "b,1,0"] * 50), ["--time-column", "t"], "the same time in every row"),
    "a share": (rows("x,y", "a,1"), ["--holdout", "1.5"], "--holdout is 1.5, expected a share"),
    "two ways": (rows("x,y", "a,1"), ["--group", "x", "--time-column", "x"], "exclude each other: give one"),
    "no such class": (
        rows("x,y", *["a,p", "b,q"] * 50),
        ["--positive", "z"],
        "--positive is 'z', expected one of p, q",
    ),
    "a number of classes": (
        rows("x,y", *["a,p", "b,q"] * 50),
        ["--predict", "number"],
        "expected numbers for a regressor",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_learned_is_refused_in_a_sentence(what, tmp_path, capfd):
    text, options, sentence = BAD[what]
    (tmp_path / "t.csv").write_text(text)
    error = refused(
        capfd, "train", tmp_path / "t.csv", "--label", "y", "--out", tmp_path / "m", "--header", "--quiet", *options
    )
    assert re.search(sentence, error), error
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_column_that_tells_the_label_is_remarked(tmp_path, capfd):
    (tmp_path / "t.csv").write_text(rows("x,z,y", *[f"{i % 3},{'pq'[i % 2]},{i % 2}" for i in range(300)]))
    status, text, _ = said(capfd, "train", tmp_path / "t.csv", "--label", "y", "--out", tmp_path / "m", *FEW)
    assert status == 0
    assert "determines the label: leave it out? (--ignore)" in text


LEAKS = {
    "the label itself": lambda y, draw: y,
    "another name of it": lambda y, draw: np.where(y == "yes", 1, 0),
    "texts of one label each": lambda y, draw: np.where(
        y == "yes", np.char.add("won", draw.astype(str)), np.char.add("lost", draw.astype(str))
    ),
    "numbers of one label each": lambda y, draw: np.where(y == "yes", draw, draw + 3.5),
    "a cell that is there for one label": lambda y, draw: np.where(y == "yes", draw.astype(str), ""),
}


@pytest.mark.parametrize("what", [*LEAKS, "nothing"])
def test_a_column_that_is_a_label_is_named_by_the_findings(what, tmp_path, capfd):
    random = np.random.default_rng(1)
    city, draw = random.integers(0, 9, 1200), random.integers(0, 4, 1200)
    y = np.where(random.random(1200) < 0.2 + 0.06 * city, "yes", "no")
    columns = {"city": city, "when": draw} if what == "nothing" else {"city": city, "when": LEAKS[what](y, draw)}
    pd.DataFrame({**columns, "y": y}).to_csv(tmp_path / "t.csv", index=False)
    status, text, _ = said(capfd, "train", tmp_path / "t.csv", "--label", "y", "--out", tmp_path / "m", *FEW)
    assert status == 0
    told = json.loads((tmp_path / "m/metrics.json").read_text())["findings"]
    assert ("note: Column 'when' alone determines the label" in text) == (what != "nothing")
    assert any("'when' alone determines the label" in sentence for sentence in told) == (what != "nothing")


@pytest.mark.parametrize("predict", ["class", "number"])
@pytest.mark.parametrize(("n_rows", "n_columns", "holdout"), [(40, 3, 0.1), (60, 400, 0.1), (60, 40, 0.3), (80, 9, 0)])
def test_a_table_that_nothing_can_be_learned_from_is_said_to_be_one(
    predict, n_rows, n_columns, holdout, tmp_path, capfd
):
    random = np.random.default_rng(n_rows)
    frame = pd.DataFrame(random.normal(size=(n_rows, n_columns)).round(2)).add_prefix("c")
    frame.assign(y=random.permutation(n_rows) % 2).to_csv(tmp_path / "t.csv", index=False)
    status, text, _ = said(
        capfd, "train", tmp_path / "t.csv", "--label", "y", "--out", tmp_path / "m", "--epochs", "8",
        "--predict", predict, "--holdout", holdout,
    )  # fmt: skip
    assert status == 0
    known = (
        "quality on unseen rows is unknown"
        if holdout == 0
        else "no better than|worse than|do not show|too (few|little) to tell"
    )
    told = json.loads((tmp_path / "m/metrics.json").read_text())["findings"]
    assert any(re.search(known, sentence) for sentence in told), told
    notes = [line for line in text.splitlines() if line.startswith("note: ")]
    assert any(re.search(known, note) for note in notes)
    assert re.search(known, (tmp_path / "m/report.html").read_text())


def test_rows_that_do_not_fit_are_learned_once_each(csv, tmp_path):
    options = Options(plan=TablePlan(label="bought"))
    told = []

    class Told(Silent):
        def remarked(self, remark):
            told.append(remark)

    figures_of = {}
    for free in (None, 1 << 15):
        job = Job(hyperparameters={"epochs": 5}, free_memory=free)
        trained = train(read_rows([csv], None, options, job), job, Told())
        figures_of[trained.hyperparameters.solver] = trained.figures["cross_entropy"]
        names = save_trained(tmp_path / f"m{free}", trained)
        assert {"model_algo-1", "schema.json", "report.html"} <= set(names)
    assert set(figures_of) == {"bayes", "online"}
    assert figures_of["online"].value < 0.9 * figures_of["online"].baseline
    assert "trains with online, in one pass: solver bayes would take" in told[-1]


def test_of_very_many_held_out_rows_some_are_scored_and_rows_wait_in_a_file(csv, tmp_path, capfd, monkeypatch):
    given = ("train", csv, "--label", "bought", *FEW)
    assert said(capfd, *given, "--out", tmp_path / "a")[0] == 0
    monkeypatch.setattr("fm_core.tabular.job.MOST_SCORED", 50)
    monkeypatch.setattr("fm_core.tabular.rows.MOST_IN_MEMORY", 0)
    status, text, _ = said(capfd, *given, "--out", tmp_path / "b")
    assert status == 0
    metrics = json.loads((tmp_path / "b/metrics.json").read_text())
    n_held, n_scored = metrics["rows"]["held_out"], metrics["rows"]["scored"]
    assert n_scored == -(-n_held // -(-n_held // 50)) <= 50
    assert f"on {n_scored} of the {n_held} rows that were held out, evenly spaced" in text
    assert (load_model(tmp_path / "a").V == load_model(tmp_path / "b").V).all()


@pytest.mark.parametrize("at_most", [1, 7, 10, 99, 100, 101])
def test_rows_at_even_distances_are_every_so_many_th(at_most):
    rows = KeptRows(3)
    for size in (1, 30, 9, 60):
        first = rows.n_rows
        labels = np.arange(first, first + size, dtype=np.float32)
        rows.add(Batch.from_csr(csr_matrix(np.ones((size, 3), np.float32)), labels))
    found = np.concatenate([batch.known_labels for batch in rows.spread_out(at_most)])
    assert found.tolist() == list(range(0, 100, -(-100 // at_most)))


def test_groups_that_training_has_not_seen_are_told(tmp_path, capfd):
    lines = [f"u{i // 4},{'pq'[i % 2]},{(i * 7) % 3 % 2}" for i in range(2000)]
    (tmp_path / "t.csv").write_text(rows("user,z,y", *lines))
    given = ("--label", "y", "--group", "user", "--holdout", "0.3", "--out", tmp_path / "m", *FEW)
    status, text, _ = said(capfd, "train", tmp_path / "t.csv", *given)
    assert status == 0
    assert "100 % of 'user' are rare or new" in text


def test_what_is_there_is_not_lost(csv, model, tmp_path, capfd):
    before = (model / "model_algo-1").read_bytes()
    assert "exists already" in refused(capfd, "train", csv, "--label", "bought", "--out", model)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    assert "holds no model" in refused(
        capfd, "train", csv, "--label", "bought", "--out", tmp_path / "mine", "--overwrite"
    )
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"
    assert "there is no folder" in refused(capfd, "train", csv, "--label", "bought", "--out", tmp_path / "a/b")
    assert (model / "model_algo-1").read_bytes() == before
    out = tmp_path / "m"
    for seed in "12":
        given = ["--label", "bought", "--out", str(out), *FEW, "--quiet", "--overwrite", "--seed", seed]
        assert main(["train", str(csv), *given]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "mine"]
    assert read_meta(out)["training_parameters"]["seed"] == "2"


def test_a_schema_of_another_table_is_refused(csv, model, tmp_path, capfd):
    other = tmp_path / "m"
    other.mkdir()
    (other / "model_algo-1").write_bytes((model / "model_algo-1").read_bytes())
    (tmp_path / "t.csv").write_text(rows("x,y", *["a,1", "b,0"] * 50))
    given = ["--label", "y", "--fit", "--quiet", "--schema-out", str(other / "schema.json")]
    assert main(["convert", str(tmp_path / "t.csv"), str(tmp_path / "t.recordio"), *given]) == 0
    assert "it is the schema of other data" in refused(capfd, "predict", other, csv)
    assert "there is no column 'city'" in refused(capfd, "predict", model, tmp_path / "t.csv")


# --- figures ---------------------------------------------------------------------------------


def test_figures_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.random(500).round(2).astype(np.float32), (rng.random(500) < 0.3).astype(np.float32)
    scored = Scored()
    scored.add(scores[:200], labels[:200])
    scored.add(scores[200:], labels[200:])
    found = figures(scored, is_classifier=True, mean=0.3)
    p = scores.astype(float).clip(1e-12, 1 - 1e-12)
    assert found["cross_entropy"].value == pytest.approx(metrics.log_loss(labels, p), rel=1e-6)
    assert found["auc"].value == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(labels, scores >= 0.5))
    assert found["auc"].baseline == 0.5
    assert found["pr_auc"].value == pytest.approx(metrics.average_precision_score(labels, scores))
    assert found["pr_auc"].baseline == pytest.approx(labels.mean())
    found = figures(scored, is_classifier=False, mean=float(labels.mean()))
    assert found["rmse"].value == pytest.approx(metrics.root_mean_squared_error(labels, scores.astype(float)))
    assert found["r2"].value == pytest.approx(metrics.r2_score(labels, scores.astype(float)), abs=1e-6)
    assert found["r2"].baseline == pytest.approx(0, abs=1e-6)
    assert found["mae"].value == pytest.approx(metrics.mean_absolute_error(labels, scores.astype(float)))
