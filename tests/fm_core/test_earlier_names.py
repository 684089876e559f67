"""What docs, examples and notebooks of earlier versions imported can be imported still."""

import importlib

import pytest

import fm_core
from fm_core.earlier_names import MOVED

# module: names that a page, an example or a notebook of an earlier version imports from it
IMPORTED = {
    "fm_core.artifact": ["load_model", "read_meta"],
    "fm_core.batch": ["Batch"],
    "fm_core.formats": ["read_records", "write_records"],
    "fm_core.formats.columns": ["frame_table"],
    "fm_core.formats.named": ["decode_named"],
    "fm_core.formats.recordio": ["Framer"],
    "fm_core.formats.schema": ["Record"],
    "fm_core.formats.serializer": ["RecordSerializer"],
    "fm_core.formats.tables": ["Encoder", "TablePlan", "TableSchema", "encode_table", "make_schema"],
    "fm_core.hyperparameters": ["Hyperparameters", "Parameter", "parameters"],
    "fm_core.on_device": ["DenseDevice"],
    "fm_core.report": ["write_report"],
    "fm_core.solver": ["Silent", "evaluate", "fit"],
    "fm_core.training_record": ["TrainingRecord"],
}


@pytest.mark.parametrize("module", IMPORTED)
def test_what_was_imported_from_a_module_still_is(module):
    for name in IMPORTED[module]:
        if module not in MOVED:
            assert getattr(importlib.import_module(module), name)
            continue
        with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} has moved: import it from fm_core\."):
            found = getattr(importlib.import_module(module), name)
        assert found is next(
            getattr(place, name) for place in map(importlib.import_module, MOVED[module]) if hasattr(place, name)
        )


def test_every_module_that_moved_is_tried():
    assert set(MOVED) <= set(IMPORTED)


def test_a_name_that_an_earlier_module_never_had_is_refused():
    assert fm_core.__all__
    with pytest.raises(AttributeError, match=r"module 'fm_core.solver' has no attribute 'nothing'"):
        _ = importlib.import_module("fm_core.solver").nothing
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("fm_core.never")
