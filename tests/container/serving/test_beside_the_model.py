"""What lies beside a model is held to the memory and the time that reading the model may take."""

import os

import numpy as np
import pytest

from container.serving.served_model import further_sources, open_with_schema
from fm_core.artifact.limits import Limits
from fm_core.artifact.model_file import save_model
from fm_core.errors import ArtifactError, ResourceError
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model

N = 60_000


def large_schema(folder):
    TableSchema((Column("user", "categorical", categories=tuple(f"u{i}" for i in range(N))),)).save(
        folder / "schema.json"
    )
    return N


def large_catalogue(folder):
    lines = ["item,features", *(f"i{i},{i % 7}" for i in range(N))]
    (folder / "catalogue.csv").write_text("\n".join(lines) + "\n")
    return 7


def folder_with(write, folder):
    d = write(folder)
    save_model(
        folder / "model_algo-1", Model("regressor", 0.0, np.zeros(d, np.float32), np.zeros((d, 1), np.float32)), {}
    )
    return folder


@pytest.fixture(params=[large_schema, large_catalogue])
def folder(request, tmp_path):
    return folder_with(request.param, tmp_path)


def opened(folder, **limits):
    return open_with_schema(None, "error", lambda: Limits(**limits))(folder)


def test_memory_counts_with_that_of_the_model(folder):
    taken = opened(folder).memory
    assert taken > 50 * N  # the texts
    assert opened(folder, memory=taken).memory == taken
    with pytest.raises(ResourceError, match=r"^(schema\.json|catalogue\.csv) takes \d+ bytes of memory"):
        opened(folder, memory=taken // 2)


@pytest.mark.parametrize("kind", ["deadline", "stop"])
def test_reading_is_given_up(folder, kind):
    n_asked = 0

    def should_stop():
        nonlocal n_asked
        n_asked += 1
        return n_asked > n_of_model

    n_of_model = 10**9
    (folder / "beside").mkdir()
    for name in ("schema.json", "catalogue.csv"):
        if (folder / name).exists():
            (folder / name).rename(folder / "beside" / name)
    opened(folder, should_stop=should_stop)
    n_of_model, n_asked = n_asked, 0
    for path in (folder / "beside").iterdir():
        path.rename(folder / path.name)
    if kind == "stop":
        with pytest.raises(ArtifactError, match="the process is stopping"):
            opened(folder, should_stop=should_stop)
    else:
        limits = Limits()
        asked = limits.should_stop

        def late():
            nonlocal n_asked
            n_asked += 1
            limits.seconds = 0.0 if n_asked >= n_of_model else limits.seconds
            return asked()

        limits.should_stop, n_asked = late, 0
        with pytest.raises(ArtifactError, match="timed out after 0 s"):
            open_with_schema(None, "error", lambda: limits)(folder)


def with_sources(tmp_path, *names):
    """A tree with a model, and a further source of each name."""
    model = tmp_path / "model"
    model.mkdir()
    folder_with(large_catalogue, model)
    folders = [tmp_path / "additional-model-data-sources" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
    return model, folders


def opened_with_sources(tmp_path):
    return open_with_schema(None, "error", Limits, further_sources(tmp_path))(tmp_path / "model")


def test_a_further_source_goes_before_what_lies_beside_the_model(tmp_path):
    _, (first, second) = with_sources(tmp_path, "first", "second")
    assert len(opened_with_sources(tmp_path).recommender.catalogue) == N
    (second / "catalogue.csv").write_text("item,features\nnew,3\n")
    assert len(opened_with_sources(tmp_path).recommender.catalogue) == 1
    (first / "catalogue.csv").write_text("item,features\nother,3\n")
    with pytest.raises(ArtifactError, match=r"first/catalogue\.csv and .*second/catalogue\.csv both exist"):
        opened_with_sources(tmp_path)


def test_a_link_out_of_a_further_source_is_refused(tmp_path):
    model, (source,) = with_sources(tmp_path, "items")
    (source / "catalogue.csv").symlink_to(model / "catalogue.csv")
    with pytest.raises(ArtifactError, match="points outside the model's folder"):
        opened_with_sources(tmp_path)


def test_a_schema_of_a_further_source_encodes(tmp_path):
    _, (source,) = with_sources(tmp_path, "columns")
    (tmp_path / "model/catalogue.csv").unlink()
    TableSchema((Column("user", "categorical", categories=tuple("abcdefg")),)).save(source / "schema.json")
    assert opened_with_sources(tmp_path).encoder is not None


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("name", ["schema.json", "catalogue.csv", "spread.npz", "baseline.json"])
def test_what_is_no_file_is_not_opened(tmp_path, caplog, name, kind):
    folder = folder_with(large_catalogue, tmp_path)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name) if kind == "pipe" else (folder / name).mkdir()
    if name == "baseline.json":  # of which nothing depends
        assert opened(folder).baseline is None
        assert f"{name} is not a file" in caplog.text
    else:
        with pytest.raises(ArtifactError, match=f"{name} is not a file, expected a "):
            opened(folder)


CATALOGUES = {
    "a row": "item,features\na," + "1 " * (2 << 20),
    "cells": "item,features\n" + "," * (3 << 20),
    "a quote": 'item,features\n"' + "a\n" * (2 << 20),
    "a header": "a" * (3 << 20),
}


@pytest.mark.parametrize("text", CATALOGUES.values(), ids=CATALOGUES)
def test_a_row_of_a_catalogue_is_bounded(tmp_path, text):
    folder = folder_with(large_catalogue, tmp_path)
    (folder / "catalogue.csv").write_text(text)
    with pytest.raises(ArtifactError, match="the row that begins here is longer than 1048576 bytes"):
        opened(folder)


def test_the_columns_of_a_catalogue_are_bounded(tmp_path):
    folder = folder_with(large_catalogue, tmp_path)
    names = ["item", "features", *map(str, range(65_535))]
    (folder / "catalogue.csv").write_text(",".join(names) + "\n" + "1," * (len(names) - 1) + "1\n")
    with pytest.raises(ArtifactError, match="has 65537 columns, expected at most 65536"):
        opened(folder)


def test_the_size_of_a_schema_is_looked_at_before_it_is_read(tmp_path):
    folder = folder_with(large_catalogue, tmp_path)
    (folder / "schema.json").touch()
    os.truncate(folder / "schema.json", 100 << 20)
    reads = []
    with pytest.raises(ArtifactError, match=r"it has 104857600 bytes, expected at most 16805888: hash"):
        opened(folder, should_stop=lambda: reads.append(1) and False)
    assert len(reads) < 10
