"""Small JSON files: an object that says nothing twice."""

import time

import pytest

from fm_core.small_json import object_of


def test_the_first_key_that_is_repeated_is_named():
    with pytest.raises(ValueError, match="the key 'b' twice"):
        object_of(b'{"a": 1, "b": 2, "c": 3, "b": 4, "a": 5}')


def test_looking_for_a_repeated_key_takes_work_in_proportion():
    names = ",".join(f'"{i}":0' for i in range(100_000))
    began = time.process_time()
    with pytest.raises(ValueError, match="'99999' twice"):
        object_of(f'{{{names},"99999":1}}'.encode())
    assert time.process_time() - began < 10  # with a list in place of a set: minutes
