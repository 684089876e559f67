"""A model that was learned is not lost to what comes after it, and data is looked at before it is learned from."""

import io
import re

import pytest
import scipy.sparse

from container.training import run
from container.training.hosts import OneHost
from container.training.report import TrainingReport
from fm_core.checkpoints.writer import Checkpointer
from fm_core.formats import write_records
from tests.contract.training import FEATURE_DIM, Job, records

GOOD = records(seed=2)
CSV = {"ContentType": "text/csv"}


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    job.put("data.pbr", records())
    job.environment["FM_REPORT"] = "false"
    return job


def frame(labels, n_features=FEATURE_DIM):
    """One record, of the last feature."""
    file = io.BytesIO()
    write_records(file, scipy.sparse.csr_array(([1.0], ([0], [n_features - 1])), (1, n_features)), labels)
    return file.getvalue()


FIRST_RECORDS = {
    "an id beyond the model": (frame([1.0], FEATURE_DIM + 1) + GOOD, {}, r"record 0 \(byte 0\): .*feature_dim"),
    "a label of no class": (frame([2.0]) + GOOD, {}, r"record 0 \(byte 0\): .*label is 2"),
    "no label": (frame(None) + GOOD, {}, r"record 0 \(byte 0\): .*label"),
    "cut off": (frame([1.0])[:-5], {}, r"record 0"),
    "text in place of records": (b"1,2,3\n", {}, r"record 0 \(byte 0\)"),
    "records in place of text": (GOOD, CSV, r"looks like RecordIO"),
    "other columns": (b"1,2,3\n", CSV, r"line 1.*feature_dim"),
    "empty files": (b"", {}, r"no file below"),
}


@pytest.mark.parametrize("mode", ["File", "FastFile"])
@pytest.mark.parametrize("channel", ["validation", "test"])
@pytest.mark.parametrize(("data", "description", "sentence"), FIRST_RECORDS.values(), ids=FIRST_RECORDS)
def test_a_bad_first_record_ends_the_job_before_anything_is_learned(job, mode, channel, data, description, sentence):
    job.put("part", data, channel)
    job.channels[channel] = {"TrainingInputMode": mode, **description}
    done = job.run_here()
    assert (done.code, done.model) == (1, {})
    assert re.search(rf"ClientError: .*{channel}.*{sentence}", done.failure), done.failure
    assert "#quality_metric" not in done.log
    assert "Create Store" not in done.log


def test_a_damaged_first_record_that_may_be_skipped_is_no_reason_to_end(job):
    job.hyperparameters["max_bad_records"] = "1"
    job.put("part", frame([2.0]) + GOOD, "test")
    done = job.run_here()
    assert done.succeeded, done.log
    assert done.log.count("Skipped a damaged record") == 1
    assert "test binary_classification_accuracy" in done.log


def test_a_look_at_the_first_record_changes_neither_model_nor_metrics(job, monkeypatch):
    for channel in ("validation", "test"):
        job.put("part", GOOD, channel)
    looked = job.run_here()
    monkeypatch.setattr("container.training.channel_batches.ChannelBatches.look_at_first_record", lambda self: None)
    blind = job.run_here()
    assert looked.model == blind.model
    told = [[line[line.find("#quality") :] for line in done.lines if "#quality" in line] for done in (looked, blind)]
    assert told[0] == told[1] != []
    stats = [re.findall(r'"num_examples": \d+, "num_bytes": \d+', done.log) for done in (looked, blind)]
    assert stats[0] == stats[1] != []


@pytest.mark.parametrize("mode", ["File", "FastFile"])
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (GOOD + frame([1.0], FEATURE_DIM + 1), "record 230"),
        (GOOD + frame([2.0]), "record 230"),
        (GOOD + frame(None), "record 230"),
        (GOOD[:-6], "record 229"),
        (GOOD + b"garbage!", "record 230"),
    ],
    ids=["an id beyond the model", "a label of no class", "no label", "cut off", "no frame"],
)
def test_a_bad_later_record_of_the_test_channel_is_said_and_the_model_kept(job, mode, data, sentence):
    alone = job.run_here()
    job.put("part", data, "test")
    job.channels["test"]["TrainingInputMode"] = mode
    done = job.run_here()
    assert (done.code, done.failure, done.model) == (0, None, alone.model)
    assert re.search(rf"ERROR .*\] The test channel was not scored: test/part: {sentence} ", done.log), done.log
    assert "#test_score" not in done.log
    assert ", test binary" not in done.log
    assert '"totaltime"' in done.lines[-1]


def fails(error):
    def failing(*args, **kwargs):
        raise error

    return failing


AFTER_THE_MODEL = {
    "other hosts": (OneHost, "wait_for_all", "The model is saved, but not all hosts could be told"),
    "schema": (run, "carry_schema", "schema.json was not copied"),
    "test": (run, "score_test_channel", "The test channel was not scored"),
    "checkpoint": (Checkpointer, "close", "The last checkpoint was not written"),
    "report": (TrainingReport, "write", "No report was written"),
}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), KeyError("x")], ids=repr)
@pytest.mark.parametrize("step", AFTER_THE_MODEL)
def test_whatever_fails_after_the_model_is_said_and_the_model_kept(job, monkeypatch, step, error):
    job.environment["FM_REPORT"] = "true"
    job.put("part", GOOD, "test")
    (job.root / "checkpoints").mkdir()
    whole = job.run_here()
    assert whole.succeeded, whole.log
    place, name, sentence = AFTER_THE_MODEL[step]
    monkeypatch.setattr(place, name, fails(error))
    for file in (job.root / "checkpoints").iterdir():
        file.unlink()
    done = job.run_here()
    assert (done.code, done.failure, done.model) == (0, None, whole.model)
    said = [line for line in done.lines if "ERROR" in line]
    assert len(said) == 1
    assert f"] {sentence}: " in said[0]
    assert ("this is a bug" in said[0]) == ("Traceback" in done.log) == isinstance(error, KeyError)


def test_a_model_that_cannot_be_saved_fails_the_job_and_leaves_none_not_even_an_older_one(job, monkeypatch):
    (job.root / "model/model_algo-1").write_bytes(b"of an earlier job")
    (job.root / "checkpoints").mkdir()
    monkeypatch.setattr(OneHost, "save", fails(OSError(28, "No space left on device")))
    done = job.run_here()
    assert (done.code, done.model) == (1, {})
    assert "No space left on device" in done.failure
    assert list((job.root / "checkpoints").iterdir()), "what was learned is in a checkpoint"


def test_the_report_of_a_job_whose_test_data_is_bad_says_so(job):
    job.environment["FM_REPORT"] = "true"
    job.put("part", GOOD[:-6], "test")
    assert job.run_here().succeeded
    page = (job.root / "output/data/report.html").read_text()
    assert "The test data was not scored: test/part: record 229" in page
    assert "ROC curve" not in page
