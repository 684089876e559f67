"""`import fm_core`: its names, and what they cost."""

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
    home = sys.modules[fm_core._HOMES[name]]
    assert name in home.__all__
    assert getattr(home, name) is value


def test_every_name_has_one_home():
    assert sorted(fm_core._HOMES) == sorted(fm_core.__all__)


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
    assert "pip install 'factorization-machines[sklearn]'" in done.stderr.splitlines()[-1]
