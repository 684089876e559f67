"""Initial values: the generator's known answers, the same bits by every build, and what is drawn."""

import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.kernels import _draw, reference

#: Of the authors' Random123, examples/kat_vectors: threefry4x32, 20 rounds; counter, key, answer.
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89)
ONES = (0xFFFFFFFF,) * 4
KNOWN = [
    ((0,) * 4, (0,) * 4, (0x9C6CA96A, 0xE17EAE66, 0xFC10ECD4, 0x5256A7D8)),
    (ONES, ONES, (0x2A881696, 0x57012287, 0xF6C7446E, 0xA16A6732)),
    (PI[:4], PI[4:], (0x59CD1DBB, 0xB8879579, 0x86B5D00C, 0xAC8B6D84)),
]
KINDS = [("constant", 0.75), ("uniform", 2.0), ("normal", 1.5)]


@pytest.fixture(params=_draw.builds())
def build(request):
    _draw.use(request.param)
    yield request.param
    _draw.use(_draw.builds()[0])


def key_of(*words):
    return np.array(words, np.uint32)


def drawn(n_rows, k, *args, key=key_of(1, 2, 3, 4), draw=_draw.draw, **kwargs):  # noqa: B008 (not changed)
    params = np.full((n_rows, k + 1), np.nan, np.float32)
    draw(params, key, *args, **kwargs)
    return params


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_generator_gives_its_known_answers(counter, key, answer):
    assert tuple(reference.threefry(key, counter)) == answer


@given(
    st.integers(0, 40), st.integers(0, 13), st.sampled_from(KINDS), st.sampled_from(KINDS),
    st.integers(0, 2**31 - 200), st.integers(1, 5), st.integers(0, 1), st.lists(st.integers(0, 2**32 - 1), min_size=4,
                                                                              max_size=4), st.integers(1, 3),
)  # fmt: skip
def test_every_build_draws_what_the_plain_one_does(n_rows, k, factors, linear, first, every, stream, key, threads):
    common = {"first": first, "every": every, "stream": stream, "key": key_of(*key)}
    expected = drawn(n_rows, k, factors, linear, draw=reference.draw, **common)
    found = []
    try:
        for build in _draw.builds():
            _draw.use(build)
            found.append(drawn(n_rows, k, factors, linear, num_threads=threads, **common))
    finally:
        _draw.use(_draw.builds()[0])
    np.testing.assert_allclose(found[0], expected, rtol=2e-6, atol=2e-6)
    assert all(params.tobytes() == found[0].tobytes() for params in found)


def test_threads_and_parts_draw_the_same(build):
    whole = drawn(5000, 6, *KINDS[1:])
    assert drawn(5000, 6, *KINDS[1:], num_threads=3).tobytes() == whole.tobytes()
    for every in (2, 3, 7):
        for first in range(every):
            mine = whole[first::every]
            assert (drawn(len(mine), 6, *KINDS[1:], first=first, every=every) == mine).all()


def test_more_factors_and_more_rows_leave_the_factors_that_were_there():
    few, many = drawn(100, 7, KINDS[2], KINDS[0]), drawn(300, 21, KINDS[2], KINDS[0])
    assert (many[:100, :7] == few[:, :7]).all()


def test_normal_numbers_are_distributed_normally(build):
    numbers = np.sort(drawn(100_000, 9, ("normal", 1.0), ("normal", 1.0)).astype(np.float64), axis=None)
    n = len(numbers)
    assert abs(numbers.mean()) < 5 / np.sqrt(n)
    assert abs(numbers.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((numbers**4).mean() - 3) < 5 * np.sqrt(96 / n)
    # Kolmogorov and Smirnov: their distance is above 1.95 / sqrt(n) once in a thousand cases
    from scipy.special import ndtr

    assert np.abs(ndtr(numbers) - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)


def test_numbers_do_not_depend_on_each_other(build):
    numbers = drawn(200_000, 8, ("normal", 1.0), ("normal", 1.0)).astype(np.float64)
    limit = 5 / np.sqrt(len(numbers))
    for a in (numbers, numbers**2 - 1):
        of_columns = np.corrcoef(a.T) - np.eye(9)
        assert np.abs(of_columns).max() < limit
        assert np.abs((a[1:] * a[:-1]).mean(axis=0)).max() < limit * (1 if a is numbers else 2)
    other = drawn(200_000, 8, ("normal", 1.0), ("normal", 1.0), key=key_of(2, 2, 3, 4))
    assert np.abs((numbers * other).mean(axis=0)).max() < limit


def test_uniform_numbers_fill_their_range(build):
    numbers = drawn(100_000, 4, ("uniform", 0.5), ("uniform", 0.5))
    assert -0.5 <= numbers.min() < -0.4999
    assert 0.4999 < numbers.max() < 0.5
    counts = np.histogram(numbers, 20)[0]
    assert np.abs(counts - numbers.size / 20).max() < 5 * np.sqrt(numbers.size / 20)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is one width elsewhere")
def test_the_processor_is_asked_for_its_widths(processor):
    flags = {"avx512": "avx512f", "avx2": "avx2"}
    assert _draw.builds() == (*(name for name, flag in flags.items() if flag in processor), "generic")


def test_a_key_has_four_words():
    with pytest.raises(ValueError, match="the key has 2 words, expected 4"):
        drawn(1, 1, *KINDS[1:], key=key_of(1, 2))


def test_an_unknown_build_is_refused():
    with pytest.raises(ValueError, match=r"'mmx' is not one of the builds that run here: .*generic"):
        _draw.use("mmx")
