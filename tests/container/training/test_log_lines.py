"""Each line to the character, as the built-in printed it in real jobs."""

import logging
from pathlib import Path

import pytest

from container.training import log_lines as lines
from container.training.log_lines import Line, PassStatistics, RecordCounters


def text(said):
    return [line.text for line in said]


def test_quality_lines_have_no_comma_after_the_batch():
    metrics = {"rmse": 3.846082752497988, "mse": 14.7923525390625, "absolute_loss": 3.66441796875}
    assert text(lines.quality_lines("algo-1", "epoch=0, batch=0 train", metrics)) == [
        "#quality_metric: host=algo-1, epoch=0, batch=0 train rmse <loss>=3.846082752497988",
        "#quality_metric: host=algo-1, epoch=0, batch=0 train mse <loss>=14.7923525390625",
        "#quality_metric: host=algo-1, epoch=0, batch=0 train absolute_loss <loss>=3.66441796875",
    ]


def test_scores_and_losses_are_told_apart():
    metrics = {
        "binary_classification_accuracy": 0.85368,
        "binary_classification_cross_entropy": 2.63,
        "binary_f_1.000": 1,
    }
    assert text(lines.quality_lines("algo-2", "epoch=3, train", metrics)) == [
        "#quality_metric: host=algo-2, epoch=3, train binary_classification_accuracy <score>=0.85368",
        "#quality_metric: host=algo-2, epoch=3, train binary_classification_cross_entropy <loss>=2.63",
        "#quality_metric: host=algo-2, epoch=3, train binary_f_1.000 <score>=1.0",
    ]


def test_speed_has_a_tab():
    assert lines.speed_line(0, 500, 92797.1199).text == "Iter[0] Batch [500]\tSpeed: 92797.12 samples/sec"


def test_the_end_of_a_dense_epoch():
    metrics = {"binary_classification_accuracy": 0.85368, "binary_f_1.000": 0.5454771371769384}
    assert text(lines.dense_epoch_lines(0, metrics, 1.5701)) == [
        "Epoch[0] Train-binary_classification_accuracy=0.853680",
        "Epoch[0] Train-binary_f_1.000=0.545477",
        "Epoch[0] Time cost=1.570",
    ]


def test_test_scores_are_said_in_two_forms():
    assert text(lines.test_score_lines("algo-1", {"rmse": 1.0002629948968227})) == [
        "#test_score (algo-1) : ('rmse', 1.0002629948968227)",
        "#quality_metric: host=algo-1, test rmse <loss>=1.0002629948968227",
    ]


@pytest.mark.parametrize(("done", "of", "said"), [(1, 50, "2.0"), (1, 1, "100.0"), (1, 3, "33.333333333333336")])
def test_progress(done, of, said):
    assert (
        lines.progress_line("algo-1", done, of).text == f"#progress_metric: host=algo-1, completed {said} % of epochs"
    )


def test_throughput_also_of_no_time_at_all():
    assert lines.throughput_line("algo-1", 1000, 0.5).text == (
        "#throughput_metric: host=algo-1, train throughput=2000.0 records/second"
    )
    assert lines.throughput_line("algo-1", 10, 0.0).text.endswith(" train throughput=10000000.0 records/second")


def test_metrics_are_bare_json():
    counters = RecordCounters()
    counters.add(80000, 80)
    counters.add(79000, 79)
    line = lines.metrics_line("algo-1", 1.5, 2.25, counters.metrics(), epoch=1, Meta="training_data_iter")
    assert line.bare
    assert line.text == (
        '#metrics {"StartTime": 1.5, "EndTime": 2.25, "Dimensions": {"Algorithm": "factorization-machines", '
        '"Host": "algo-1", "Operation": "training", "epoch": 1, "Meta": "training_data_iter"}, "Metrics": {'
        '"Total Records Seen": {"sum": 159000.0, "count": 1, "min": 159000, "max": 159000}, '
        '"Total Batches Seen": {"sum": 159.0, "count": 1, "min": 159, "max": 159}, '
        '"Max Records Seen Between Resets": {"sum": 80000.0, "count": 1, "min": 80000, "max": 80000}, '
        '"Max Batches Seen Between Resets": {"sum": 80.0, "count": 1, "min": 80, "max": 80}, '
        '"Reset Count": {"sum": 2.0, "count": 1, "min": 2, "max": 2}, '
        '"Number of Records Since Last Reset": {"sum": 79000.0, "count": 1, "min": 79000, "max": 79000}, '
        '"Number of Batches Since Last Reset": {"sum": 79.0, "count": 1, "min": 79, "max": 79}}}'
    )


def test_a_pass_is_bare_and_counts_batches():
    line = lines.pass_line(Path("/opt/ml/input/data/train"), 2, PassStatistics(80, 5120000, 0.3294), 1682087205.4826)
    assert line.bare
    assert line.text[11:14] != ""
    assert line.text[25:] == (
        ' [tensorio] [info] epoch_stats={"data_pipeline": "/opt/ml/input/data/train", "epoch": 2, "duration": 329, '
        '"num_examples": 80, "num_bytes": 5120000}'
    )
    assert line.text[21:25] == "482]"


def test_the_rest():
    assert lines.start_line() == Line("Docker entrypoint called with argument(s): train", bare=True)
    assert lines.no_test_line() == Line("Test data is not provided.", logging.INFO)
    assert lines.pipe_line("train", Path("/opt/ml/input/data/train")).text == (
        "The channel 'train' is in pipe input mode under /opt/ml/input/data/train."
    )
    assert text(lines.worker_lines(7)) == [
        "Process 7 is a worker.", "Using default worker.", "Checkpoint loading and saving are disabled."]  # fmt: skip
    assert text(lines.worker_lines(7, Path("/c")))[2] == "Checkpoint loading and saving are enabled, in /c."
    assert text(lines.network_lines(True))[1] == "[Fully symbolic network] Building a fully symbolic network."
    assert text(lines.network_lines(False)) == [
        "Number of GPUs being used: 0",
        "[Sparse network] Building a sparse network.",
        "Create Store: local",
    ]
