"""The file of loaded models: what another process sees, killed writers, full disks, and how long the file gets."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from container.serving.model_list import Entry, ModelList


def entry(listed, name, size=10):
    return Entry(name, f"url of {name}", f"/models/{name}", size, listed.next_slot, listed.next_serial)


@settings(max_examples=40)
@given(changes=st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abcdé\n"), st.integers(0, 9)), max_size=60))
def test_processes_agree_whoever_changes_what(changes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    first = ModelList(folder)
    both = [first, ModelList(folder)]
    expected, slots = {}, {}
    for who, name, size in changes:
        listed = both[who]
        with listed.locked():
            if name in listed.entries:
                listed.remove(name)
                expected.pop(name)
                slots.pop(name)
            else:
                made = entry(listed, name, size)
                listed.add(made)
                expected[name] = made
                assert made.slot not in slots.values()
                slots[name] = made.slot
        for each in both:
            each.refresh()
            assert each.entries == expected
            assert each.size == sum(each.size for each in expected.values())
    assert len({made.serial for made in expected.values()}) == len(expected)


def test_the_file_does_not_grow_with_models_that_are_gone(tmp_path):
    listed = ModelList(tmp_path)
    other = ModelList(tmp_path)
    with listed.locked():
        listed.add(entry(listed, "kept"))
        listed.add(entry(listed, "later"))
        listed.add(entry(listed, "last"))
        listed.remove("later")  # a slot is free between two
        for _ in range(3000):
            listed.add(entry(listed, "short"))
            listed.remove("short")
    other.refresh()
    assert other.entries.keys() == {"kept", "last"}
    assert (tmp_path / "models").stat().st_size < 400_000
    assert other.next_serial == listed.next_serial == 3003
    taken = {each.slot for each in other.entries.values()}
    assert other.next_slot not in taken
    assert listed.next_slot not in taken


def test_half_a_line_of_a_killed_writer_is_taken_away(tmp_path):
    listed = ModelList(tmp_path)
    other = ModelList(tmp_path)
    with listed.locked():
        listed.add(entry(listed, "a"))
    with (tmp_path / "models").open("ab") as file:
        file.write(b'["+","b","half a li')
    other.refresh()
    assert other.entries.keys() == {"a"}
    with other.locked():
        other.add(entry(other, "c"))
    listed.refresh()
    assert listed.entries == other.entries
    assert listed.entries.keys() == {"a", "c"}


def test_a_disk_that_is_full_changes_nothing(tmp_path, monkeypatch):
    listed = ModelList(tmp_path)
    with listed.locked():
        listed.add(entry(listed, "a"))
    before = (tmp_path / "models").read_bytes()
    write, calls = os.pwrite, []

    def full(file, data, offset):
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:10], offset)

    with monkeypatch.context() as patch, listed.locked():
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            listed.add(entry(listed, "b"))
    assert (tmp_path / "models").read_bytes() == before
    assert listed.entries.keys() == {"a"}
