"""The simulation from which docs/explanation/scaling.md computes: against what was measured, and against arithmetic."""

import math

import pytest

from benchmarks import simulation
from benchmarks.simulation import LINKS, Links, Processors, Work, fitted, record, seconds_of_a_step

CASES = [case for case in record() if case[1] > 1]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_is_within_fifteen_hundredths_of_what_was_measured(case):
    """Two numbers are fitted, to the steps without a limit; those over slow links follow."""
    k, size, _ = case
    measured = record()[case]
    found = measured.simulated(record()[k, size, "none"], *fitted())
    assert found == pytest.approx(measured.step, rel=0.15)


def test_all_that_is_tried_was_measured():
    assert {(k, size) for k, size, _ in CASES} == {(k, size) for k in (16, 64) for size in (2, 3, 4)}
    assert {link for _, _, link in CASES} == set(LINKS)


def work(**changes):
    """Of a host that only learns: 10 ms, then 1 MB to each other host, then 5 ms."""
    only = {"plan": [0.0, 0.0], "learn": [0.010, 0.005], "keys": [0.0], "rows": [1e6], "steps": 50}
    return Work(**only | changes)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_what_comes_one_after_the_other_is_added_up(size):
    """Computing, the bytes for all others over a link, and a word there and one back."""
    found = seconds_of_a_step(work(), size, Links(100e6, 0.001), Processors())
    assert found == pytest.approx(0.015 + (size - 1) * 0.010 + 0.002, rel=0.01)


def test_one_machine_computes_for_all_its_hosts():
    alone = seconds_of_a_step(work(rows=[0.0]), 4, Links(), Processors(4))
    assert alone == pytest.approx(0.015, rel=0.01)
    assert seconds_of_a_step(work(rows=[0.0]), 4, Links(), Processors(2, True)) == pytest.approx(0.030, rel=0.01)


def test_planning_ahead_takes_no_time_unless_it_takes_longest():
    short, long = work(plan=[0.002, 0.003], rows=[0.0]), work(plan=[0.010, 0.015], rows=[0.0])
    assert seconds_of_a_step(short, 2, Links(), Processors()) == pytest.approx(0.015, rel=0.02)
    assert seconds_of_a_step(long, 2, Links(), Processors()) == pytest.approx(0.025, rel=0.02)
    # the first step of an epoch waits for its plan
    assert seconds_of_a_step(work(plan=[0.0, 0.010], rows=[0.0], steps=1), 2, Links(), Processors()) > 0.025


def test_both_threads_share_a_link():
    """5 MB a step of keys, beside 1 MB of rows, over 100 MB/s: the link never rests."""
    found = seconds_of_a_step(work(keys=[5e6]), 2, Links(100e6), Processors())
    assert found == pytest.approx(0.060, rel=0.03)


def test_a_burst_passes_without_waiting():
    slow, burst = Links(100e6), Links(100e6, burst=1e6)
    without, within = (seconds_of_a_step(work(), 2, links, Processors()) for links in (slow, burst))
    assert without == pytest.approx(0.025, rel=0.01)
    assert within == pytest.approx(0.0155, rel=0.03)  # 15 ms of computing fill the bucket again


def test_processor_time_of_sending_counts_where_the_network_is_fast():
    found = seconds_of_a_step(work(byte=10e-9), 2, Links(), Processors())
    assert found == pytest.approx(0.015 + 2 * 1e6 * 10e-9, rel=0.01)


def test_many_hosts_alike_are_as_two_that_send_as_much(monkeypatch):
    given = work(plan=[0.002, 0.003], keys=[1e5], exchange=1e-4, byte=1e-9), 4, Links(100e6, 1e-4), Processors(4)
    one_by_one = seconds_of_a_step(*given)
    monkeypatch.setattr(simulation, "FEW", 2)
    assert seconds_of_a_step(*given) == pytest.approx(one_by_one, rel=0.02)


@pytest.mark.parametrize("k", [16, 64])
def test_predictions_are_those_of_a_network_that_only_helps(k):
    for size in (2, 8, 64):
        times = [round(simulation.predicted(k, size, gigabits), 9) for gigabits in (1, 10, 100)]
        assert times == sorted(times, reverse=True)
        assert all(math.isfinite(each) and each > 0 for each in times)
