"""Tables whose columns are many for their rows: what becomes of them, that it is said, and that it takes no longer."""

import json

import numpy as np
import pandas as pd
import pytest

from fm_core.cli import main
from fm_core.formats.tables.delimited import cell_tables
from fm_core.formats.tables.fitting import are_few, fit_schema
from fm_core.formats.tables.learner import TablePlan


def wide(n_rows, n_columns, is_classifier, seed=0):
    """A table whose first column alone says something."""
    rng = np.random.default_rng(seed)
    X = rng.normal(50, 7, (n_rows, n_columns)).round(3)
    y = (X[:, 0] - 50) / 7 + 0.3 * rng.normal(size=n_rows)
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(n_columns)])
    frame["y"] = (y > 0).astype(int) if is_classifier else y.round(4)
    return frame


def kinds_of(frame):
    text = frame.to_csv(index=False).encode()
    return {column.kind for column in fit_schema(cell_tables("t.csv", [text]), TablePlan(label="y")).schema.columns}


@pytest.mark.parametrize("n_columns", [1, 6, 40])
def test_numbers_are_cut_into_bins_where_rows_outnumber_all_of_these(n_columns):
    enough = max(200, 40 * n_columns)
    assert not are_few(enough, n_columns)
    assert kinds_of(wide(enough, n_columns, False)) == {"binned"}
    assert kinds_of(wide(enough - 1, n_columns, False)) == {"scaled"}


@pytest.mark.parametrize("n_columns", [100, 1500])
@pytest.mark.parametrize("is_classifier", [False, True])
def test_a_model_of_many_columns_is_learned_soon_and_says_what_it_took_them_for(
    tmp_path, capsys, n_columns, is_classifier
):
    wide(250, n_columns, is_classifier).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "m"
    command = ["train", tmp_path / "t.csv", "--label", "y", "--out", out, "--holdout", "0.4", "--no-report"]
    assert main(list(map(str, command))) == 0
    said = capsys.readouterr().out
    assert f"are few for {n_columns:,} columns of numbers, so these are scaled" in said
    assert "a guess" in said
    metrics = json.loads((out / "metrics.json").read_text())
    (loss,) = [figure for name, figure in metrics["held_out"].items() if name in ("rmse", "cross_entropy")]
    # of bins, each column with a prior of its own, it was many times that of the baseline
    assert loss["model"] < (1 if n_columns == 100 else 1.02) * loss["baseline"]


def test_long_rows_are_looked_at_many_at_a_time():
    line = b",".join([b"1.5"] * 60_000) + b"\n"
    tables = list(cell_tables("t.csv", [line] * 40, header=False))
    assert sum(table.n_rows for table in tables) == 40
    assert len(tables) <= 6
    short = list(cell_tables("t.csv", [b"1,2\n" * 1000] * 1000, header=False))
    assert max(table.n_rows for table in short) < 500_000
