"""`train` as a process that is stopped or killed, goes on, and ends with the model of one that was not."""

import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import scipy.sparse

from container.training import hyperparameters as translation
from fm_core.artifact.model_file import load_model
from fm_core.checkpoints import file as checkpoint
from fm_core.formats import write_records
from fm_core.solvers import registry
from tests.contract.test_pipe import fed, pipe_job
from tests.contract.training import Job, is_untrained, read_until, records, stop
from tests.fm_core.checkpoints.test_file import newer

DATA = records(600)
NAME = re.compile(r"checkpoint_algo-1_\d{12}\.fm")
UNSHARE = ("unshare", "--mount", "--propagation", "private")


def job_of(root, pipe=False, **hyperparameters):
    job = pipe_job(root) if pipe else Job(root)
    if not pipe:
        job.put("0.pbr", DATA)
    job.hyperparameters |= {"epochs": "6", "mini_batch_size": "10", "checkpoint_interval_s": "0"}
    job.hyperparameters |= hyperparameters
    (root / "checkpoints").mkdir()
    return job


@pytest.fixture
def job(tmp_path):
    return job_of(tmp_path / "job")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The model, and the metrics, of the job that nothing happens to."""
    job = job_of(tmp_path_factory.mktemp("whole") / "job")
    shutil.rmtree(job.root / "checkpoints")
    done = job.run()
    assert done.succeeded, done.log
    assert "Checkpoint loading and saving are disabled." in done.log
    return done


def names(job):
    """What is in the folder, without what a kill left unfinished."""
    return sorted(e.name for e in (job.root / "checkpoints").iterdir() if not e.name.startswith("."))


def metrics(log):
    return re.findall(r"#quality_metric: (.*)", log)


def interrupted(job, number=signal.SIGKILL, after="epoch=2, train"):
    """Run a job until it has said something, then send it a signal."""
    with job.started() as process:
        said = read_until(process, after)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=30)
        return job.finished(process.returncode, said + rest)


def slowed(job, milliseconds=3):
    """Let a job take its time, so that a signal comes while it trains."""
    code = (
        "import sys, time; from fm_core.solvers.minibatch import MiniBatchSolver; from container.train import main\n"
        "step = MiniBatchSolver.step\n"
        f"MiniBatchSolver.step = lambda *a: (time.sleep({milliseconds / 1000}), step(*a))[1]\n"
        "sys.exit(main([]))"
    )
    started = job.started
    job.started = lambda *command: started(*(command or ("-c", code)))
    return job


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_was_interrupted_goes_on_to_the_same_model_and_metrics(job, expected, number):
    job = slowed(job)
    first = interrupted(job, number)
    assert first.code == (-9 if number == signal.SIGKILL else 0)
    assert bool(first.model) == (number == signal.SIGTERM)
    again = job.run()
    assert again.succeeded, again.log
    assert again.model == expected.model
    assert re.search(r"Resuming from checkpoint .*: epoch [2-5], after \d+ of its batches", again.log)
    assert f"Checkpoint loading and saving are enabled, in {job.root}/checkpoints." in again.log
    assert metrics(again.log) == metrics(expected.log)[-len(metrics(again.log)) :]
    assert again.log.splitlines()[-2:][0].count("test") == expected.log.splitlines()[-2:][0].count("test")
    counters = [
        re.search(r'"Total Records Seen": \{"sum": 3600.0.*?"Reset Count": \{"sum": \d', d.log)
        for d in (again, expected)
    ]
    assert counters[0][0] == counters[1][0]
    assert len(names(job)) == 2
    assert all(map(NAME.fullmatch, names(job)))


def test_a_job_that_was_stopped_loses_not_one_batch(job):
    job = slowed(job)
    job.hyperparameters["checkpoint_interval_s"] = "1000"
    interrupted(job, signal.SIGTERM, "epoch=1, train")
    (name,) = names(job)[-1:]
    with slowed(job).started() as process:
        log = read_until(process, "Resuming from")
    assert name in log
    assert int(name[-15:-3]) >= 120


def test_the_folder_is_the_one_that_the_configuration_names(job, tmp_path, expected):
    shutil.rmtree(job.root / "checkpoints")
    folder = tmp_path / "elsewhere/deep"
    (job.root / "input/config/checkpointconfig.json").write_text(json.dumps({"LocalPath": str(folder)}))
    assert job.run().model == expected.model
    assert any(NAME.fullmatch(path.name) for path in folder.iterdir())


def test_markers_of_the_platform_are_ignored_and_left(job, expected):
    interrupted(slowed(job))
    newest = names(job)[-1]
    markers = {f"{newest}.sagemaker-uploading", f"{newest}.sagemaker-uploaded"}
    for name in markers:
        (job.root / "checkpoints" / name).write_text("")
    assert job.run().model == expected.model
    assert markers <= set(names(job))


def test_a_finished_job_that_is_started_again_gives_its_model_at_once(job, expected):
    job.run()
    shutil.rmtree(job.root / "model")
    (job.root / "model").mkdir()
    again = job.run()
    assert again.model == expected.model
    assert "epoch=5" not in again.log
    assert metrics(again.log) == [line for line in metrics(expected.log) if "epoch=" not in line]


@pytest.mark.parametrize("shuffle", ["false", "true"])
def test_in_pipe_mode_the_fifos_count_from_0_again(tmp_path, expected, shuffle):
    file = tmp_path / "0.pbr"
    file.write_bytes(DATA)
    options = {} if shuffle == "false" else {"shuffle": "true", "shuffle_buffer_size": "100"}
    job = slowed(job_of(tmp_path / "job", pipe=True, **options))
    with fed(job, "train", file, epochs=6):
        interrupted(job)
    for fifo in (job.root / "input/data").iterdir():
        fifo.unlink()
    with fed(job, "train", file, epochs=6):
        again = job.run()
    assert again.succeeded, again.log
    going_on = re.search(r"Resuming from checkpoint .*: epoch ([2-5])", again.log)
    assert going_on
    assert "or their order has" not in again.log
    if shuffle == "true":
        other = job_of(tmp_path / "file", **options)
        assert again.model == other.run().model
    else:
        assert again.model == expected.model


def test_a_stop_while_skipping_what_was_done_loses_nothing(tmp_path, expected):
    file = tmp_path / "0.pbr"
    file.write_bytes(DATA)
    job = slowed(job_of(tmp_path / "job", pipe=True))
    with fed(job, "train", file, epochs=6):
        interrupted(job, after="epoch=3, train")
    before = names(job)
    for fifo in (job.root / "input/data").iterdir():
        fifo.unlink()
    with fed(job, "train", file, epochs=1, chunk=20, pause=0.05), job.started() as process:
        read_until(process, "initialize.time")
        time.sleep(0.3)
        seconds, log = stop(process)
        assert process.returncode == 0, log
        assert seconds < 5
    assert set(before) & set(names(job))
    for fifo in (job.root / "input/data").glob("train_*"):
        fifo.unlink()
    with fed(job, "train", file, epochs=6):
        assert job.run().model == expected.model


# --- stopped before anything is learned ---


def stopped_in(job, module, function):
    """Run a job that gets SIGTERM when a function is called."""
    code = (
        "import os, signal, sys; from container.train import main\n"
        f"import {module} as module\n"
        "*path, name = sys.argv[1].split('.')\n"
        "owner = getattr(module, path[0]) if path else module\n"
        "called = getattr(owner, name)\n"
        "def stopped(*arguments, **named):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return called(*arguments, **named)\n"
        "setattr(owner, name, stopped)\n"
        "sys.exit(main([]))"
    )
    return job.run("-c", code, function)


def test_a_stop_while_the_initial_parameters_are_drawn_saves_them_and_learns_nothing(job):
    done = stopped_in(job, "fm_core.model", "Model.initialise")
    assert done.succeeded, done.log
    assert "Stop requested (SIGTERM): 0 of 6 epochs are done." in done.log
    assert is_untrained(job)
    assert names(job) == []


@pytest.mark.parametrize("options", [{}, {"early_stopping_patience": "5"}])
@pytest.mark.parametrize("function", ["read", "byte_blocks", "row_blocks"])
def test_a_stop_while_a_checkpoint_is_read_saves_its_model_and_keeps_it(job, options, function):
    job.hyperparameters |= options
    job.put("0.pbr", DATA, "validation")
    assert interrupted(slowed(job), after="epoch=3, train").code == -9
    before = {name: (job.root / "checkpoints" / name).read_bytes() for name in names(job)}
    stopped = stopped_in(job, "fm_core.checkpoints.file", function)
    assert stopped.succeeded, stopped.log
    assert (
        f"Stop requested: loaded only the model of checkpoint {job.root}/checkpoints/{names(job)[-1]}." in stopped.log
    )
    assert {name: (job.root / "checkpoints" / name).read_bytes() for name in names(job)} == before

    hp = translation.parse(job.hyperparameters)
    path = job.root / "checkpoints" / names(job)[-1]
    held = checkpoint.read(path, registry.algorithm(hp), hp, checkpoint.read_header(path)["fingerprint"])
    params = held.best if held.best is not None else held.arrays["params"]
    is_best = held.best is not None
    assert is_best == bool(options)
    saved = load_model(job.root / "model/model_algo-1")
    assert np.array_equal(saved.V, params[:, :-1])
    assert np.array_equal(saved.w, params[:, -1])
    assert saved.w0 == np.float32(held.position.best_bias if is_best else held.arrays["bias"][0])

    whole = job_of(job.root.with_name("whole"), **options)
    whole.put("0.pbr", DATA, "validation")
    again = job.run("-m", "container.train")
    assert again.succeeded, again.log
    assert again.model == whole.run().model


@pytest.mark.parametrize(
    "place", ["fm_core.artifact.model_file _write_params", "fm_core.checkpoints.file write", "os fsync"]
)
def test_signals_while_something_is_written_change_nothing(job, expected, place):
    done = stopped_in(job, *place.split())  # another signal whenever it is called again
    assert done.succeeded, done.log
    assert names(job)
    assert job.run().model == expected.model


def test_a_stop_before_the_first_batch_of_a_warm_start_saves_the_model_it_started_from(job, expected):
    job.put("model_algo-1", expected.model["model_algo-1"], "model")
    done = stopped_in(job, "container.training.channels", "ChannelReader.sources")
    assert done.succeeded, done.log
    assert "Stop requested (SIGTERM) before the first batch" in done.log
    old, new = load_model_bytes(job.root, expected.model["model_algo-1"]), load_model(job.root / "model/model_algo-1")
    assert np.array_equal(new.V, old.V)
    assert np.array_equal(new.w, old.w)
    assert new.w0 == old.w0


# A finder of modules that is asked for one sends the signal, once.
STOPPED_AT_AN_IMPORT = """
import os, signal, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[2]:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder)
from container.entrypoint import main
sys.exit(main(sys.argv[1:2]))
"""


def test_a_stop_while_train_is_imported_is_heard(job):
    done = job.run("-c", STOPPED_AT_AN_IMPORT, "train", "numpy")
    assert done.succeeded, done.log
    assert is_untrained(job)


def test_a_stop_while_serve_is_imported_ends_it(job):
    done = job.run("-c", STOPPED_AT_AN_IMPORT, "serve", "flask")
    assert (done.code, done.log) == (0, "")


# --- checkpoints that are refused ---


def test_other_hyperparameters_are_refused_by_name_and_nothing_is_destroyed(job):
    interrupted(slowed(job))
    before = names(job)
    job.hyperparameters |= {"linear_lr": "0.5"}
    done = job.run()
    assert done.code == 1
    assert re.match(r"ClientError: .*linear_lr was 0.001 and is 0.5\): restore those, or use another", done.failure)
    assert names(job) == before


def test_other_data_is_refused(job):
    interrupted(slowed(job))
    job.put("1.pbr", DATA)
    done = job.run()
    assert done.code == 1
    assert re.match(r"ClientError: .*other data \(train was 1 files of \d+ bytes .* and is 2 files", done.failure)


def test_a_damaged_checkpoint_is_passed_over(job, expected):
    interrupted(slowed(job))
    newest = job.root / "checkpoints" / names(job)[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    done = job.run()
    assert done.model == expected.model
    assert re.search(r"WARNING .*using the checkpoint before it", done.log)


def test_damaged_checkpoints_alone_fail_the_job(job):
    for n in (1, 2):
        (job.root / f"checkpoints/checkpoint_algo-1_00000000000{n}.fm").write_bytes(b"\x89FMC")
    done = job.run()
    assert done.code == 1
    assert re.match("ClientError: all checkpoints are damaged: .*2.fm is not a checkpoint", done.failure)
    assert len(names(job)) == 2


def test_a_checkpoint_of_a_newer_version_is_refused(job):
    interrupted(slowed(job))
    newest = job.root / "checkpoints" / names(job)[-1]
    newest.write_bytes(newer(newest.read_bytes()))
    done = job.run()
    assert done.code == 1
    assert re.match("ClientError: .*format version 2, expected 1: it is from a newer version", done.failure)


# --- disks and memory ---


@contextlib.contextmanager
def mounted(*command):
    """Run `train` in a mount namespace of its own, after a command that mounts."""
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    shell = [*UNSHARE, "sh", "-ec", f"{' '.join(command)}; exec {sys.executable} -m container.train"]
    yield ("-c", f"import os; os.execvp('unshare', {shell!r})")


def test_a_model_folder_that_is_read_only_is_said_before_training(job):
    with mounted(
        f"mount --bind -o ro {job.root}/model {job.root}/model && mount -o remount,bind,ro {job.root}/model"
    ) as command:
        done = job.run(*command)
    assert done.code == 1
    assert done.failure.startswith(f"AlgorithmError: the model folder {job.root}/model cannot be written to: Read-only")
    assert "epoch=0" not in done.log


def test_a_checkpoint_folder_that_is_read_only_is_said_before_training(job):
    folder = job.root / "checkpoints"
    with mounted(f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}") as command:
        done = job.run(*command)
    assert done.code == 1
    assert done.failure.startswith(f"ClientError: the checkpoint folder {folder} cannot be written to: Read-only")


def test_a_full_disk_of_checkpoints_costs_checkpoints_and_not_the_job(job, expected):
    with mounted(f"mount -t tmpfs -o size=8k none {job.root}/checkpoints") as command:
        done = job.run(*command)
    assert done.succeeded
    assert done.model == expected.model
    assert re.search(r"WARNING .*could not be written: No space left on device; it takes \d+ bytes, and 3", done.log)


def test_a_full_disk_of_models_fails_the_job_and_the_training_is_kept(job, expected):
    with mounted(f"mount -t tmpfs -o size=4k none {job.root}/model") as command:
        done = job.run(*command)
    assert done.code == 1
    assert re.match(
        r"ClientError: .*model_algo-1 could not be written: No space left on device; it takes", done.failure
    )
    (job.root / "output/failure").unlink()
    again = job.run()  # on a larger disk
    assert again.succeeded
    assert again.model == expected.model
    assert "epoch=5" not in again.log


def test_a_full_disk_of_output_still_ends_with_a_sentence_in_the_log(job):
    job.hyperparameters["epochs"] = "none"
    with mounted(
        f"mount -t tmpfs -o size=4k none {job.root}/output && head -c 4096 /dev/zero > {job.root}/output/full"
    ) as command:
        done = job.run(*command)
    assert done.code == 1
    assert "ClientError: hyperparameter epochs is 'none'" in done.log
    assert "The reason could not be written to" in done.log


def test_a_full_disk_of_output_costs_the_report_and_not_the_job(job, expected):
    job.environment["FM_REPORT"] = "true"
    with mounted(
        f"mount -t tmpfs -o size=4k none {job.root}/output && head -c 4096 /dev/zero > {job.root}/output/full"
    ) as command:
        done = job.run(*command)
    assert done.succeeded, done.log
    assert done.model == expected.model
    assert re.search(r"WARNING .*No report was written: .*No space left on device", done.log)


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(job):
    job.hyperparameters["num_factors"] = "100"
    done = job.run("-c", "import os, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
                   f"os.execv({sys.executable!r}, ['python', '-m', 'container.train'])")  # fmt: skip
    assert done.code == 1
    assert re.search(r"Checkpoint .* could not be written: File too large", done.log)
    assert re.search(r"model_algo-1 could not be written: File too large", done.failure)
    assert done.model == {}


def test_memory_is_told_before_any_is_taken(job):
    job.hyperparameters |= {"feature_dim": "2000000000", "num_factors": "64"}
    started = time.monotonic()
    done = job.run()
    assert done.code == 1
    assert re.match(
        r"ClientError: training takes 1487\d{3} MiB of memory with feature_dim=2000000000, num_factors=64 and "
        r"_optimizer=adam, and \d+ MiB are available: lower num_factors or feature_dim, or use an instance",
        done.failure,
    )
    assert time.monotonic() - started < 10


def test_a_training_that_diverges_names_the_place_and_keeps_the_last_finite_checkpoint(job):
    job.hyperparameters |= {"predictor_type": "regressor", "linear_lr": "30", "_optimizer": "sgd", "epochs": "200"}
    done = slowed(job, 1).run()
    assert done.code == 1
    assert re.match(
        r"ClientError: epoch \d+, batch \d+: scores are no longer finite .*linear_lr=30 .*lower", done.failure
    )
    if names(job):
        assert f"; the last finite checkpoint is {job.root}/checkpoints/{names(job)[-1]}" in done.failure
    assert done.model == {}


# --- starting from a model ---


def tar_of(model):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("model_algo-1")
        member.size = len(model)
        tar.addfile(member, io.BytesIO(model))
    return packed.getvalue()


@pytest.mark.parametrize("form", ["model.tar.gz", "extracted"])
def test_training_starts_from_a_model(tmp_path, expected, form):
    job = job_of(tmp_path / "job", feature_dim="50", linear_lr="0", factors_lr="0", bias_lr="0")
    model = expected.model["model_algo-1"]
    job.put(*(("model.tar.gz", tar_of(model)) if form == "model.tar.gz" else ("model_algo-1", model)), "model")
    job.channels["model"] = {"ContentType": "application/x-sagemaker-model", "TrainingInputMode": "File"}
    job.put("0.pbr", records(600))
    # the data has 40 features by its shape: 50 are asked for, which dense readers would refuse
    (job.root / "input/data/train/0.pbr").write_bytes(wide(50))
    done = job.run()
    assert done.succeeded, done.log
    assert "Training starts from the model in" in done.log
    old, new = load_model_bytes(tmp_path, model), load_model(job.root / "model/model_algo-1")
    assert np.array_equal(new.V[:40], old.V)
    assert np.array_equal(new.w[:40], old.w)
    assert new.w0 == old.w0
    assert new.V[40:].any()


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"num_factors": "4"}, "is a binary_classifier with num_factors=3, expected .*num_factors=4"),
    ({"predictor_type": "regressor"}, "is a binary_classifier with num_factors=3, expected regressor"),
    ({"feature_dim": "30"}, "has feature_dim=40, more than the hyperparameter's 30: raise it, because"),
])  # fmt: skip
def test_a_model_that_does_not_fit_is_refused(tmp_path, expected, changes, sentence):
    job = job_of(tmp_path / "job", **changes)
    job.put("model_algo-1", expected.model["model_algo-1"], "model")
    (job.root / "input/data/train/0.pbr").write_bytes(wide(30 if "feature_dim" in changes else 40))
    done = job.run()
    assert done.code == 1
    assert re.search(f"^ClientError: .*{sentence}", done.failure), done.failure


def test_a_model_channel_without_a_model_is_the_users_to_mend(job):
    job.put("notes.txt", b"x", "model")
    done = job.run()
    assert done.code == 1
    assert re.match("ClientError: channel model: .*/model: ", done.failure)


def test_a_warm_start_that_was_interrupted_goes_on(tmp_path, expected):
    jobs = [job_of(tmp_path / name) for name in ("cut", "whole")]
    for each in jobs:
        each.put("model_algo-1", expected.model["model_algo-1"], "model")
    interrupted(slowed(jobs[0]))
    assert jobs[0].run().model == jobs[1].run().model != expected.model


def test_the_built_ins_own_model_can_be_started_from(tmp_path, shared):
    (tar,) = list((shared / "reference_runs").rglob("*model.tar.gz"))[:1] or [None]
    if tar is None:
        pytest.skip("there is no model of the built-in here")
    job = job_of(tmp_path / "job", feature_dim="2625", num_factors="64", predictor_type="regressor", epochs="1",
                 bias_lr="0", linear_lr="0", factors_lr="0")  # fmt: skip
    job.put("model.tar.gz", tar.read_bytes(), "model")
    (job.root / "input/data/train/0.pbr").write_bytes(wide(2625))
    done = job.run()
    assert done.succeeded, done.log
    assert np.array_equal(load_model(job.root / "model/model_algo-1").V, load_model(tar).V)


def wide(feature_dim):
    """Records of so many features, as bytes."""
    rows = scipy.sparse.random(200, feature_dim, 0.1, "csr", np.float32, random_state=np.random.default_rng(1))
    file = io.BytesIO()
    write_records(file, rows, np.arange(200, dtype=np.float32) % 2)
    return file.getvalue()


def load_model_bytes(tmp_path, data):
    path = tmp_path / "a-model"
    path.write_bytes(data)
    return load_model(path)
