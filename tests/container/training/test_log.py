import fcntl
import io
import logging
import os
import pty
import re
import struct
import sys
import termios

import pytest

from container.training.log import Progress, Reporter, emit, set_up_logging
from container.training.log_lines import Line
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.callbacks import BatchReport, EpochReport, ValidationReport


@pytest.fixture
def terminal():
    """A stream that says it is a terminal of 80 columns, and keeps what is written."""
    reader, screen = pty.openpty()
    set_columns(screen, 80)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def fileno(self):
            return screen

    yield Terminal()
    os.close(reader)
    os.close(screen)


def set_columns(screen, columns):
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))


@pytest.fixture
def log():
    """What is logged, with the process's logging put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logging(stream, Progress(stream))
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def reporter(tmp_path, *, epochs=2, stopped=False, progress=None, **hyperparameters):
    return Reporter(
        host="algo-1",
        hyperparameters=Hyperparameters(
            feature_dim=3, num_factors=2, predictor_type="regressor", epochs=epochs, **hyperparameters
        ),
        train_folder=tmp_path,
        n_bytes=lambda: 12,
        should_stop=lambda: stopped,
        progress=progress or Progress(io.StringIO()),
    )


def epoch_report(epoch, epochs=2, rmse=0.5):
    return EpochReport(epoch, epochs, {"rmse": rmse}, 5000, 5, 100.0, 101.0)


# --- logging -------------------------------------------------------------------------------------


def test_a_line_has_the_prefix_of_the_built_in_unless_it_is_bare(log):
    emit([Line("one"), Line("two", logging.WARNING), Line("three", bare=True)])
    logging.getLogger("x").error("four")
    one, two, three, four = log.getvalue().splitlines()
    moment = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{moment} INFO \d+\] one", one)
    assert re.fullmatch(rf"{moment} WARNING \d+\] two", two)
    assert three == "three"
    assert re.fullmatch(rf"{moment} ERROR \d+ test_log\.py:\d+\] four", four)


def test_a_level_hides_lines_but_no_bare_ones(log):
    logging.getLogger().setLevel("CRITICAL")
    emit([Line("one", logging.ERROR), Line("#metrics {}", bare=True, is_ours=True)])
    assert log.getvalue() == "#metrics {}\n"


def test_a_percent_sign_is_no_harm(log):
    emit([Line("completed 2.0 % of %s epochs", bare=True)])
    assert log.getvalue() == "completed 2.0 % of %s epochs\n"


# --- the order of lines --------------------------------------------------------------------------


def test_the_final_metrics_come_with_the_last_epoch(log, tmp_path):
    said = reporter(tmp_path)
    said.started(False)
    said.epoch(epoch_report(0, rmse=0.75))
    assert "host=algo-1, train rmse" not in log.getvalue()
    said.epoch(epoch_report(1))
    assert log.getvalue().count("host=algo-1, train rmse <loss>=0.5") == 1
    said.finished()
    assert log.getvalue().count("host=algo-1, train rmse") == 1


def test_the_final_metrics_come_at_the_end_of_a_job_that_stops_early(log, tmp_path):
    said = reporter(tmp_path, epochs=10)
    said.started(False)
    said.epoch(epoch_report(0, 10, 0.75))
    said.finished()
    assert log.getvalue().splitlines()[-1].endswith("#quality_metric: host=algo-1, train rmse <loss>=0.75")


def test_there_are_no_final_metrics_without_a_finished_epoch(log, tmp_path):
    said = reporter(tmp_path)
    assert not said.has_started
    said.started(False)
    assert said.has_started
    said.finished()
    assert "#quality_metric" not in log.getvalue()


@pytest.mark.parametrize(("patience", "kept"), [(None, 0.9), (1, 0.7)])
def test_the_final_validation_metrics_are_those_of_the_kept_model(log, tmp_path, patience, kept):
    said = reporter(tmp_path, early_stopping_patience=patience)
    said.validated(ValidationReport(0, {"rmse": 0.7}, 10, True))
    said.validated(ValidationReport(1, {"rmse": 0.9}, 10, False))
    said.finished()
    assert re.findall(r"host=algo-1, (.*)", log.getvalue()) == [
        "epoch=0, validation rmse <loss>=0.7",
        "epoch=1, validation rmse <loss>=0.9",
        f"validation rmse <loss>={kept}",
    ]


def test_a_validation_pass_that_was_cut_short_is_not_told(log, tmp_path):
    reporter(tmp_path, stopped=True).validated(ValidationReport(0, {"rmse": 0.7}, 3, True))
    assert log.getvalue() == ""


def test_a_small_channel_is_remarked_on_once(log, tmp_path):
    said = reporter(tmp_path, mini_batch_size=6000)
    for epoch in range(2):
        said.epoch(epoch_report(epoch))
    assert log.getvalue().count("mini_batch_size is 6000 and the train channel has only 5000 records") == 1


# --- the progress bar ----------------------------------------------------------------------------


def test_no_terminal_no_bar_and_no_tqdm(tmp_path, log, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    progress = Progress(log)
    assert not progress.is_shown
    assert list(progress.watch([[1], [2]], 0)) == [[1], [2]]
    reporter(tmp_path, progress=progress).batch(BatchReport(0, 0, {"rmse": 1.0}, 10.0))
    assert "epoch=0, batch=0 train rmse" in log.getvalue()


def test_on_a_terminal_a_bar_takes_the_place_of_the_batch_lines(tmp_path, log, terminal):
    progress = Progress(terminal)
    assert progress.is_shown
    batches = progress.watch([[1] * 30, [2] * 12], 3)
    next(batches)
    set_up_logging(terminal, progress)
    emit([Line("a line", bare=True)])
    said = reporter(tmp_path, progress=progress)
    said.batch(BatchReport(3, 0, {"rmse": 1.0}, 10.0))
    assert list(batches) == [[2] * 12]
    assert "epoch 3" in terminal.getvalue()
    assert re.search(r"(^|[\r\n])a line\n", terminal.getvalue())
    assert "batch=0" not in terminal.getvalue()
    said.epoch(epoch_report(0))
    assert "epoch=0, train rmse <loss>=0.5" in terminal.getvalue()


def test_a_terminal_without_tqdm_gets_the_lines(monkeypatch, terminal):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert not Progress(terminal).is_shown


def test_a_terminal_nobody_looks_at_gets_the_lines(terminal):
    assert Progress(terminal).is_shown
    set_columns(terminal.fileno(), 0)
    assert not Progress(terminal).is_shown
