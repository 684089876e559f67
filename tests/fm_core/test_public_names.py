"""`import fm_core`: its names, and what they cost."""

import importlib
import os
import re
import subprocess
import sys

import pytest

import fm_core


def test_names_are_sorted_and_there():
    assert fm_core.__all__ == sorted(fm_core.__all__, key=str.lower)
    assert set(fm_core.__all__) <= set(dir(fm_core))


@pytest.mark.parametrize("name", fm_core.__all__)
def test_a_name_is_public_in_the_module_it_comes_from(name):
    if name in ("FMClassifier", "FMRegressor"):
        pytest.importorskip("sklearn")
    value = getattr(fm_core, name)
    assert value.__name__ == name
    homes = [module for home, module in sys.modules.items() if home.startswith("fm_core.") and is_home(module, name)]
    assert homes
    assert all(getattr(home, name) is value for home in homes)


def is_home(module, name):
    return name in getattr(module, "__all__", ())


def test_the_version_is_said_by_the_library_and_by_fm():
    assert re.fullmatch(r"\d+\.\d+\.\d+", fm_core.__version__)
    said = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"fm {fm_core.__version__}\n"


def test_where_a_system_does_not_tell_a_processs_cores_all_are_counted(monkeypatch):
    """As on macOS and Windows."""
    pytest.importorskip("sklearn")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert importlib.import_module("fm_core.resources").usable_cores() == 3


def test_a_name_that_is_not_there_is_said_so():
    with pytest.raises(AttributeError, match="no attribute 'Factorisation'"):
        fm_core.Factorisation  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import fm_core", {"numpy", "scipy", "sklearn"}),
        ("from fm_core import fit, load_model", {"scipy", "sklearn", "pandas"}),
    ],
    ids=["the package", "the solver"],
)
def test_an_import_brings_no_more_than_it_needs(statement, unwanted):
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not unwanted & set(loaded)


def test_without_scikit_learn_the_estimators_say_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import fm_core; fm_core.fit; fm_core.FMRegressor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install scikit-learn" in done.stderr.splitlines()[-1]
