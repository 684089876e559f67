"""Columns of texts that say what another one says."""

import numpy as np
import pandas as pd
import pytest

from fm_core.formats.tables import TablePlan, fit_schema, frame_table


def ratings(n=4000, n_films=200, seed=0):
    rng = np.random.default_rng(seed)
    film = rng.integers(0, n_films, n)
    return pd.DataFrame(
        {
            "film": [f"f{i}" for i in film],
            "title": [f"Title {max(i, 3)}" for i in film],  # the first four have one title
            "page": [f"http://films/{i}" for i in film],
            "genre": [f"g{i % 150}" for i in film],  # three quarters as many values
            "shop": rng.choice(["a", "b", "c"], n),
            "label": rng.integers(1, 6, n),
        }
    )


def left_out(tables, chosen=None, **plan):
    fitted = fit_schema([frame_table(table) for table in tables], TablePlan(label="label", fit=True, **plan), chosen)
    return {text.partition(": ")[0]: text for text in fitted.schema.left_out}


def test_the_later_and_the_coarser_are_left_out():
    frame = ratings()
    assert left_out([frame]) == {
        "title": "title: says what film says (--categorical keeps it)",
        "page": "page: says what film says (--categorical keeps it)",
    }
    assert set(left_out([frame[frame.columns[::-1]]])) == {"title", "film"}  # page comes first


def test_what_the_user_names_stays():
    assert set(left_out([ratings()], categorical=["title"])) == {"page"}


@pytest.mark.parametrize("n_changed", [1, 40])
def test_one_error_does_not_matter_and_a_hundredth_of_them_does(n_changed):
    frame = ratings(n_films=700)
    frame.loc[: n_changed - 1, "page"] = frame.page.iloc[::-1].to_list()[:n_changed]
    assert ("page" in left_out([frame])) is (n_changed == 1)


def test_all_rows_are_looked_at_that_are_learned_from():
    first, second = ratings(), ratings(seed=1)
    second["page"] = second.page.iloc[::-1].to_list()
    assert set(left_out([first, second])) == {"title"}
    only_first = iter([np.ones(len(first), bool), np.zeros(len(second), bool)])
    assert set(left_out([first, second], chosen=lambda table, row: next(only_first))) == {"title", "page"}


def test_values_that_hardly_repeat_agree_by_chance():
    n = 3000
    frame = pd.DataFrame({"a": [f"a{i // 2}" for i in range(n)], "b": [f"b{i // 2}" for i in range(n)]})
    assert left_out([frame.assign(label=np.arange(n) % 2)]) == {}


def test_missing_cells_are_a_value():
    frame = ratings()
    frame.loc[frame.film == "f9", "page"] = None
    assert "page" in left_out([frame])
    frame.loc[::2, "page"] = None
    assert "page" not in left_out([frame])


def test_lists_and_columns_beyond_what_is_compared_stay():
    frame = ratings()
    assert set(left_out([frame.assign(tags=[[text] for text in frame.film])])) == {"title", "page"}
    few = ratings(n=100, n_films=5)
    many = {f"c{i}": few.film for i in range(201)}
    assert left_out([pd.DataFrame(many | {"label": few.label})]) == {}
