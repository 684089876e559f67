"""Tables of many columns take work in proportion: what is walked and called is counted, for n and twice n columns."""

import json
import sys

import pytest

from fm_core.formats.registry.inputs import Options, open_rows
from fm_core.formats.requests import named_columns
from fm_core.formats.requests.named_columns import decode_named, decode_named_csv
from fm_core.formats.tables import delimited
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.frames import encode_table
from fm_core.formats.tables.learner import TablePlan
from fm_core.formats.tables.schema import Column, TableSchema

#: Calls that are there anyway must not hide what grows.
N = 300


class Work:
    """Counts the calls of functions, Python's and C's, and the elements that are walked in `Counted` sequences."""

    def __init__(self):
        self.n = 0

    def __enter__(self):
        Counted.work = self
        sys.setprofile(self._called)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)
        Counted.work = None

    def _called(self, frame, event, argument):
        if event in ("call", "c_call"):
            self.n += 1


class Counted:
    work = None

    def _walk(self):
        if Counted.work is not None:
            Counted.work.n += len(self)

    def __iter__(self):
        self._walk()
        return super().__iter__()

    def __contains__(self, item):
        self._walk()
        return super().__contains__(item)

    def index(self, *given):
        self._walk()
        return super().index(*given)


class CountedList(Counted, list):
    pass


class CountedTuple(Counted, tuple):
    pass


def names(n):
    return [f"gene_{i:06d}" for i in range(n)]


def schema(n, kind="numeric"):
    further = {"categories": ("1", "2")} if kind == "categorical" else {}
    return TableSchema(CountedTuple(Column(name, kind, **further) for name in names(n)), "y", kind == "numeric")


def table(n, folder):
    path = folder / f"{n}.csv"
    rows = [",".join(["y", *names(n)]), ",".join(["0", *["1"] * n]), ",".join(["1", *["2"] * n])]
    path.write_text("\n".join(rows) + "\n")
    return path


def frame(n):
    return {name: [1, 2] for name in ["y", *names(n)]}


def learned(n, folder, **plan):
    opened = open_rows([table(n, folder)], None, Options(plan=TablePlan(label="y", **plan)))
    return sum(batch.n_rows for batch in opened.batches())


def named_csv(n, folder):
    return decode_named_csv(
        ("\n".join([",".join(names(n)), ",".join(["1"] * n)]) + "\n").encode(), Encoder(schema(n), labels="none")
    )


WAYS = {
    "learned": learned,
    "learned as categories": lambda n, folder: learned(n, folder, categorical=tuple(names(n))),
    "made fit": lambda n, folder: learned(n, folder, fit=True),
    "by a schema": lambda n, folder: list(open_rows([table(n, folder)], None, Options(schema=schema(n))).batches()),
    "a frame": lambda n, folder: encode_table(frame(n), schema(n)),
    "a frame of categories": lambda n, folder: encode_table(frame(n), schema(n, "categorical")),
    "named CSV": lambda n, folder: list(named_csv(n, folder)),
    "named JSON": lambda n, folder: decode_named(
        [{"columns": dict.fromkeys(names(n), 1)}], Encoder(schema(n), labels="none")
    ),
    "feature names": lambda n, folder: schema(n, "categorical").feature_names(),
    "schema.json": lambda n, folder: TableSchema.from_json(json.dumps(json.loads(schema(n).to_json())), "x"),
}


@pytest.mark.parametrize("way", WAYS)
def test_work_grows_as_the_columns_do(way, tmp_path, monkeypatch):
    for module in (delimited, named_columns):
        if hasattr(module, "header_of"):
            monkeypatch.setattr(module, "header_of", counted_header)
    counted = []
    WAYS[way](10, tmp_path)  # what is imported or made once
    for n in (N, 2 * N):
        with Work() as work:
            WAYS[way](n, tmp_path)
        counted.append(work.n)
    assert counted[1] < 2.4 * counted[0], counted
    assert counted[0] > N


original = delimited.header_of


def counted_header(*given):
    return CountedList(original(*given))
