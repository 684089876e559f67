import sys
from pathlib import Path

import pytest

import container.train  # noqa: F401  # brings along what a job runs
import fm_core
from container.training.program import program_checksum, program_files


@pytest.fixture
def package(tmp_path):
    """A package with a module and an extension below its top folder."""
    folder = tmp_path / "package"
    for name in ("__init__.py", "below/__init__.py", "below/further/module.py", "below/_compiled.so"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.mark.parametrize("name", ["__init__.py", "below/further/module.py", "below/_compiled.so"])
def test_another_byte_in_any_module_or_extension_is_another_program(package, name):
    before = program_checksum([package])
    assert program_checksum([package]) == before
    (package / name).write_text("changed")
    assert program_checksum([package]) != before


def test_a_module_that_is_moved_or_added_is_another_program_and_other_files_are_not(package):
    before = program_checksum([package])
    (package / "below/notes.txt").write_text("x")
    (package / "below/__pycache__").mkdir()
    (package / "below/__pycache__/module.cpython-311.pyc").write_text("x")
    assert program_checksum([package]) == before
    (package / "below/further/module.py").rename(package / "below/module.py")
    moved = program_checksum([package])
    (package / "empty.py").write_text("")
    assert len({before, moved, program_checksum([package])}) == 3


def test_every_module_of_ours_that_a_job_has_loaded_is_counted():
    counted = {path for name in ("fm_core", "container") for path in program_files(Path(sys.modules[name].__path__[0]))}
    loaded = {
        Path(module.__file__)
        for name, module in sys.modules.items()
        if name.split(".")[0] in ("fm_core", "container") and getattr(module, "__file__", None)
    }
    assert loaded <= counted
    assert any(path.suffix == ".so" for path in loaded)
    assert Path(fm_core.__file__) in loaded
