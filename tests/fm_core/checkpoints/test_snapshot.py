"""What a checkpoint is written from: the solver's arrays as they were, however little was copied."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.checkpoints.snapshot import Snapshots
from fm_core.solvers.base import ArraySpec

D = 130
ROWS = ArraySpec((D, 2), by_feature=True)
LAYOUTS = {
    "two by feature": {"params": ROWS, "state": ROWS._replace(is_lazy=True), "bias": ArraySpec((3,))},
    "one by feature": {"params": ROWS, "bias": ArraySpec((None,), "float64")},
    "three by feature": {"a": ROWS, "b": ROWS._replace(is_lazy=True), "c": ROWS},
    "none by feature": {"means": ArraySpec((None, 4), "float64"), "counts": ArraySpec((2,), "int64")},
}


def arrays_of(layout):
    made = {name: np.zeros([n or 5 for n in spec.shape], spec.dtype) for name, spec in layout.items()}
    for name, spec in layout.items():
        if not spec.is_lazy:
            made[name] += 1
    return made


@given(
    layout=st.sampled_from(list(LAYOUTS.values())),
    steps=st.lists(st.one_of(st.none(), st.lists(st.integers(0, D - 1), unique=True).map(sorted)), max_size=8),
    every=st.integers(1, 3),
)
def test_a_snapshot_is_the_arrays_as_they_are_and_stays_so(layout, steps, every):
    arrays = arrays_of(layout)
    snapshots = Snapshots(layout, arrays)
    ever = set()
    for i, features in enumerate(steps):
        rows = slice(None) if features is None else features
        for name, spec in layout.items():
            arrays[name][rows if spec.by_feature else slice(None)] += i + 1
        snapshots.mark(None if features is None else np.array(features, np.int32))
        ever |= set(range(D) if features is None else features)
        if i % every == 0:
            taken = {name: array.copy() for name, array in snapshots.take(arrays).items()}
            assert taken.keys() == layout.keys()
            for name, array in arrays.items():
                assert np.array_equal(taken[name], array), name
            changed = snapshots.changed()
            if any(spec.by_feature for spec in layout.values()) and changed is not None:
                assert set(np.flatnonzero(changed)) == ever


def test_without_a_copy_they_are_the_solvers_own():
    layout = LAYOUTS["two by feature"]
    arrays = arrays_of(layout)
    assert Snapshots(layout, arrays, has_copy=False).take(arrays) is arrays


@pytest.mark.parametrize("changed", [None, np.arange(D) == 7])
def test_what_was_changed_before_training_goes_on_is_copied_once(changed):
    layout = LAYOUTS["two by feature"]
    arrays = arrays_of(layout)
    arrays["state"][7] = 5
    snapshots = Snapshots(layout, arrays, changed, is_new=False)
    assert np.array_equal(snapshots.take(arrays)["state"], arrays["state"])
    found = snapshots.changed()
    assert found is None if changed is None else np.array_equal(found, changed)


def test_arrays_may_take_their_shape_from_the_data():
    layout = LAYOUTS["none by feature"]
    arrays = arrays_of(layout)
    snapshots = Snapshots(layout, arrays)
    snapshots.take(arrays)
    arrays["means"] = np.full((9, 4), 2.0)
    assert np.array_equal(snapshots.take(arrays)["means"], arrays["means"])
