"""Trainings killed at random moments, resumed until they are done, and compared with ones nothing happened to.

    python -m tests.crash.crash [--runs 200] [--seed 0] [--workers 2]

A run is one `train` process that was killed or stopped; now and then one gets a fault instead. As on the
platform, the checkpoint folder stays from run to run, and the model folder is empty at each start. After
every run each checkpoint, and each model that was left, is read in whole; when a job is done, its model has
to be that of the uninterrupted job, byte for byte. The end is a table, and exit code 1 if anything was wrong.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from container.training import hyperparameters as translation
from fm_core.artifact.model_file import load_model
from fm_core.checkpoints import file as checkpoint
from fm_core.solvers import registry
from tests.contract.test_pipe import fed
from tests.contract.training import Job, records

CHECKPOINT = re.compile(r"checkpoint_algo-1_\d{12}\.fm")
EPOCHS = 5

#: What jobs are made of: hyperparameters, and whether the data is dense, comes through FIFOs, is validated.
SCENARIOS = {
    "sparse": ({}, {}),
    "sparse, Pipe mode": ({}, {"pipe": True}),
    "sparse, shuffled": ({"shuffle": "true", "shuffle_buffer_size": "200"}, {}),
    "sparse, shuffled, Pipe mode": ({"shuffle": "true", "shuffle_buffer_size": "200"}, {"pipe": True}),
    "every feature, adagrad": ({"lazy_update": "false", "_optimizer": "adagrad"}, {}),
    "dense, ftrl": ({"_optimizer": "ftrl"}, {"dense": True}),
    "early stopping": ({"early_stopping_patience": "2"}, {"validated": True}),
}

#: Fault: the shell commands that make it, the exit code, what the log has to say.
FAULTS = {
    "read-only model folder": (
        "mount --bind {root}/model {root}/model; mount -o remount,bind,ro {root}/model",
        1, "AlgorithmError: the model folder .* cannot be written to: Read-only"),
    "read-only checkpoint folder": (
        "mount --bind {root}/checkpoints {root}/checkpoints; mount -o remount,bind,ro {root}/checkpoints",
        1, "ClientError: the checkpoint folder .* cannot be written to: Read-only"),
    "full disk for the model": (
        "mount -t tmpfs -o size=16k none {root}/model",
        1, "ClientError: .*model_algo-1 could not be written: No space left"),
    "full disk for checkpoints": (
        "mount -t tmpfs -o size=16k none {root}/checkpoints",
        0, "WARNING .*Checkpoint .* could not be written: No space left"),
    "ulimit -f": ("ulimit -f 16", 1, "AlgorithmError: .*model_algo-1 could not be written: File too large"),
}  # fmt: skip

# Steps take a while, as with more data, so that every moment of a training can be hit.
SLOWED = """
import sys, time
from container.stopping import StopRequest
stop = StopRequest()
stop.install()  # as the entry point does, before anything large is imported
from container.train import main
from fm_core.solvers import minibatch
step = minibatch.MiniBatchSolver.step
def slow(*arguments):
    time.sleep(0.006)
    return step(*arguments)
minibatch.MiniBatchSolver.step = slow
sys.exit(main([], stop))
"""


@dataclasses.dataclass
class Tally:
    """What happened, over all jobs."""

    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    wrong: list = dataclasses.field(default_factory=list)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def killed(self):
        """How many runs a signal ended."""
        return self.counts["SIGKILL"] + self.counts["SIGTERM"]

    def add(self, **counts):
        with self.lock:
            self.counts.update(counts)

    def check(self, right, sentence):
        if not right:
            with self.lock:
                self.wrong.append(sentence)
            print(f"WRONG: {sentence}", flush=True)


class Crashed:
    """One job, run until it is done whatever happens to it."""

    def __init__(self, folder, scenario, tally, dice):
        self.scenario, self.tally, self.dice = scenario, tally, dice
        self.hyperparameters, data = SCENARIOS[scenario]
        self.pipe = data.get("pipe", False)
        self.job = Job(folder)
        job = self.job
        job.hyperparameters |= {
            "epochs": str(EPOCHS),
            "mini_batch_size": "20",
            "num_factors": "10000",
        }  # a checkpoint takes a while
        job.hyperparameters |= {"checkpoint_interval_s": "0", "factors_lr": "0.01", **self.hyperparameters}
        job.environment |= {"FM_PIPE_WAIT_SECONDS": "30", "OMP_NUM_THREADS": "1"}
        rows = records(900, dense=data.get("dense", False))
        self.file = folder / "0.pbr"
        self.file.write_bytes(rows)
        if self.pipe:
            job.channels["train"] = {"TrainingInputMode": "Pipe"}
        else:
            job.put("0.pbr", rows)
        if data.get("validated"):
            job.put("0.pbr", records(200, seed=1), "validation")
        self.checkpoints = folder / "checkpoints"

    def whole(self):
        """Run it once without checkpoints and undisturbed: the model, and how long it took."""
        started = time.monotonic()
        with self.feeding():
            done = self.job.run("-c", SLOWED)
        assert done.succeeded, done.log
        self.seconds = time.monotonic() - started
        self.expected = done.model
        self.checkpoints.mkdir()

    def feeding(self):
        for fifo in (self.job.root / "input/data").glob("train_*"):
            fifo.unlink()
        if not self.pipe:
            return contextlib.nullcontext()
        return fed(self.job, "train", self.file, epochs=EPOCHS)

    def fresh(self):
        """Empty what the platform would give empty."""
        for name in ("model", "output"):
            shutil.rmtree(self.job.root / name)
            (self.job.root / name).mkdir()

    def until_done(self, may_go_on, with_faults):
        """Kill and resume it; at last, or when there were runs enough, let it finish."""
        while True:
            self.fresh()
            if not may_go_on() or self.dice.random() < 0.04:
                is_done = self.undisturbed()
            elif with_faults and self.dice.random() < 0.15:
                is_done = self.faulty(self.dice.choice(list(FAULTS)))
            else:
                is_done = self.killed()
            if is_done:
                return

    def undisturbed(self):
        with self.feeding():
            done = self.job.run("-c", SLOWED)
        self.tally.add(resumes=int("Resuming from checkpoint" in done.log))
        self.compare(done)
        return True

    def compare(self, done):
        self.tally.check(done.succeeded, f"{self.scenario}: a job that nothing happened to failed: {done.log[-2000:]}")
        same = done.model == self.expected
        self.tally.add(jobs=1, identical=int(same))
        self.tally.check(same, f"{self.scenario}: the model differs from the uninterrupted one")

    def killed(self):
        """Let it run for a random time, or until a random line of its log, and send it a signal, or two."""
        signals = self.dice.choice(
            [[signal.SIGKILL], [signal.SIGKILL], [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM],
             [signal.SIGTERM, signal.SIGKILL]]
        )  # fmt: skip
        with self.feeding(), self.job.started("-c", SLOWED) as process:
            log = []
            reader = threading.Thread(target=lambda: log.extend(process.stdout), daemon=True)
            reader.start()
            if self.dice.random() < 0.3:  # at the end of an epoch, or while the model is saved
                awaited = f"epoch={self.dice.randrange(EPOCHS)}, train"
                deadline = time.monotonic() + 3 * self.seconds
                while process.poll() is None and time.monotonic() < deadline and not any(awaited in x for x in log):
                    time.sleep(0.002)
                time.sleep(self.dice.uniform(0, 0.08))
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.dice.uniform(0.25, 0.85) * self.seconds)
            asked = time.monotonic()
            for number in signals:
                process.send_signal(number)
                if number == signal.SIGTERM and len(signals) > 1:
                    time.sleep(self.dice.uniform(0, 0.1))
            code = process.wait(60)
            seconds = time.monotonic() - asked
            reader.join()
        done = self.job.finished(code, "".join(log))
        self.tally.add(resumes=int("Resuming from checkpoint" in done.log))
        self.look(done)
        name = self.scenario
        if code == -signal.SIGKILL:
            self.tally.add(SIGKILL=1)
            return False
        if signal.SIGTERM not in signals or ("Stop requested" not in done.log and done.log and code == 0):
            self.tally.add(too_late=1)  # it had ended
            self.compare(done)
            return True
        self.tally.add(SIGTERM=1)
        if code == -signal.SIGTERM:  # before Python had started main(): nothing was read or made
            self.tally.check(not done.log, f"{name}: SIGTERM killed it after it had begun: {done.log}")
            return False
        self.tally.check(code == 0, f"{name}: exit code {code} after SIGTERM: {done.log[-2000:]}")
        self.tally.check(seconds < 30, f"{name}: it took {seconds:.0f} s to stop")
        self.tally.check(list(done.model) == ["model_algo-1"], f"{name}: {list(done.model)} after {done.log[-500:]}")
        self.tally.add(stopped_models=1)
        is_done = f"{EPOCHS} of {EPOCHS} epochs are done" in done.log and self.scenario != "early stopping"
        if is_done:
            self.compare(done)
        return is_done

    def faulty(self, fault):
        command, expected, sentence = FAULTS[fault]
        before = {path: path.read_bytes() for path in self.whole_checkpoints()}
        shell = f"{command.format(root=self.job.root)}; exec \"$0\" -c '{SLOWED}'"
        arguments = ["unshare", "--mount", "--propagation", "private", "bash", "-ec", shell, sys.executable]
        with self.feeding():
            done = self.job.run("-c", f"import os; os.execvp('unshare', {arguments!r})")
        self.tally.add(faults=1, resumes=int("Resuming from checkpoint" in done.log), **{f"fault: {fault}": 1})
        self.look(done)
        self.tally.check(
            done.code == expected, f"{fault}: exit code {done.code}, expected {expected}: {done.log[-2000:]}"
        )
        self.tally.check(bool(re.search(sentence, done.log)), f"{fault}: not said: {done.log[-2000:]}")
        if expected:
            said = done.failure or ""
            self.tally.check(said.count("\n") == 0 and "Error: " in said, f"{fault}: failure is {said!r}")
            self.tally.check(done.model == {}, f"{fault}: a model is left: {list(done.model)}")
            if "full disk" not in fault:
                kept = all(path.exists() and path.read_bytes() == data for path, data in before.items())
                self.tally.check(kept, f"{fault}: checkpoints are no longer what they were")
            return False
        self.compare(done)
        return True

    def whole_checkpoints(self):
        return [path for path in self.checkpoints.iterdir() if CHECKPOINT.fullmatch(path.name)]

    def look(self, done):
        """Read whatever was left under a final name."""
        paths = self.whole_checkpoints()
        self.tally.check(len(paths) <= 3, f"{len(paths)} checkpoints are kept")
        hp = translation.parse(self.job.hyperparameters)
        for path in paths:
            try:
                checkpoint.read(path, registry.algorithm(hp), hp, checkpoint.read_header(path)["fingerprint"])
            except Exception as error:
                self.tally.check(False, f"{self.scenario}: a broken checkpoint: {error}")
        self.tally.add(checkpoints_read=len(paths))
        for name in done.model:
            if name.startswith("."):
                continue  # unfinished, under a name that nobody looks for
            try:
                load_model(self.job.root / "model" / name)
                self.tally.add(models_read=1)
            except Exception as error:
                self.tally.check(False, f"{self.scenario}: a broken model: {error}")


def can_mount():
    """Whether mounts of one's own are permitted."""
    try:
        command = ["unshare", "--mount", "--propagation", "private", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def crash(runs, seed=0, workers=2):
    """Kill so many runs, and give the tally."""
    tally = Tally()
    with_faults = can_mount()
    if not with_faults:
        print("mounting is not permitted here: signals only")

    def worker(number):
        dice = random.Random(f"{seed} {number}")
        scenarios = list(SCENARIOS)
        dice.shuffle(scenarios)
        while tally.killed < runs and not tally.wrong:
            scenarios.append(scenarios.pop(0))
            with tempfile.TemporaryDirectory(prefix="fm-crash-") as folder:
                crashed = Crashed(Path(folder) / "job", scenarios[0], tally, dice)
                crashed.whole()
                crashed.until_done(lambda: tally.killed < runs, with_faults)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(worker, number) for number in range(workers)]:
            done.result()
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.nice(5)
    started = time.monotonic()
    print(f"{options.runs} runs, seed {options.seed}", flush=True)
    tally = crash(options.runs, options.seed, options.workers)
    counts = tally.counts
    rows = {
        "runs that a signal ended": tally.killed,
        "killed by SIGKILL": counts["SIGKILL"],
        "stopped by SIGTERM": counts["SIGTERM"],
        "of them with a valid model (the others had not begun)": counts["stopped_models"],
        "signals that came after the end": counts["too_late"],
        **{name: n for name, n in sorted(counts.items()) if name.startswith("fault: ")},
        "resumes from a checkpoint": counts["resumes"],
        "jobs that were finished in the end": counts["jobs"],
        "of them byte-identical to the uninterrupted one": counts["identical"],
        "checkpoints read after a run": counts["checkpoints_read"],
        "models read after a run": counts["models_read"],
        "broken, wrong or missing": len(tally.wrong),
    }
    for name, n in rows.items():
        print(f"{name:56} {n:6}")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if tally.wrong or counts["jobs"] != counts["identical"] else 0


if __name__ == "__main__":
    sys.exit(main())
