"""What may happen to a host of three at a moment that is drawn: a pause, a cut of its network, SIGTERM."""

import signal
import threading
import time

from benchmarks.network import Network
from fm_core.artifact.model_file import load_model
from tests.cluster.hosts import Hosts
from tests.contract.training import records

SIZE = 3
#: A job of so many epochs takes a few seconds, most of them before training.
CHANGES = {"factors_lr": "0.01", "epochs": "60", "mini_batch_size": "20"}


def _job(root, **changes):
    job = Hosts(root, SIZE, **(CHANGES | changes))
    job.put("part", records(500))
    return job


class Life:
    """The log lines of a host, read in a thread, and awaited."""

    def __init__(self, process):
        self._process = process
        self._lines, self._news = [], threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._lines.append("the end of the log")
            self._news.notify_all()

    def wait_for(self, text, timeout=200):
        """Wait for a line."""
        with self._news:
            found = self._news.wait_for(lambda: any(text in line for line in self._lines), timeout)
        assert found, f"no {text!r} within {timeout} s: {self.log[-2000:]}"

    def ended(self, timeout):
        """Wait for the end, and give the exit code."""
        code = self._process.wait(timeout)
        self._thread.join(10)
        return code

    @property
    def log(self):
        """What it said so far."""
        return "".join(self._lines)


#: Moments of a job's life, by what a host's log says then.
MOMENTS = ("Docker entrypoint", "all connect to", "epoch=0, train", "epoch=20, train")


def plain_model(root):
    """The model's bytes when nothing happens."""
    return _done(_job(root))


def _done(job, happens=lambda lives, processes: None, timeout=200):
    with job.started() as processes:
        lives = [Life(process) for process in processes]
        happens(lives, processes)
        codes = [life.ended(timeout) for life in lives]
    assert codes == [0] * SIZE, [life.log[-1500:] for life in lives]
    return (job.jobs[0].root / "model/model_127.0.0.1").read_bytes()


def paused(root, draw, n, expected, seconds=None, moment=None):
    """Pause one host, each in turn, for 3 to 19 s: the job goes on to the same bytes."""
    rank, moment = n % SIZE, draw.choice(MOMENTS) if moment is None else moment
    seconds = draw.uniform(3, 19) if seconds is None else seconds
    what = f"host {rank + 1} paused for {seconds:.1f} s at {moment!r}"

    def happens(lives, processes):
        lives[rank].wait_for(moment)
        processes[rank].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        processes[rank].send_signal(signal.SIGCONT)

    assert _done(_job(root), happens) == expected, f"{what}: another model"
    return what


def cut(root, draw, n, expected, seconds=None, moment=None):
    """Cut one host off the others, each in turn, for 3 to 19 s: the job goes on to the same bytes."""
    rank, moment = n % SIZE, draw.choice(MOMENTS) if moment is None else moment
    seconds = draw.uniform(3, 19) if seconds is None else seconds
    what = f"host {rank + 1} cut off for {seconds:.1f} s at {moment!r}"
    with Network(SIZE) as network:
        job = Hosts(root, SIZE, names=network.addresses, interface="eth0", **CHANGES)
        for of, one in enumerate(job.jobs):
            one.under = network.within(of)
        job.put("part", records(500))

        def happens(lives, processes):
            lives[rank].wait_for(moment)
            network.cut(rank)
            time.sleep(seconds)
            network.mend(rank)

        with job.started() as processes:
            lives = [Life(process) for process in processes]
            happens(lives, processes)
            codes = [life.ended(200) for life in lives]
        assert codes == [0] * SIZE, (what, [life.log[-1500:] for life in lives])
    [model] = (job.jobs[0].root / "model").glob("model_*")
    assert model.read_bytes() == expected, f"{what}: another model"
    return what


def stopped(root, draw, n, expected=None):
    """Send SIGTERM to all hosts, or one, at a moment that is drawn; more than half of them lie before training."""
    ranks = draw.choice([(0, 1, 2), (0, 1, 2), (0,), (1,), (2,)])
    return stopped_at(root, ranks, draw.uniform(0, 8) if draw.random() < 0.6 else None, draw.random())


def stopped_at(root, ranks, after, then, limit=10.0):
    """Send SIGTERM, some seconds after all hosts have begun, or after the first epoch: one model, 0, within 10 s."""
    job = _job(root, epochs="1000000")
    with job.started() as processes:
        lives = [Life(process) for process in processes]
        for life in lives:
            life.wait_for("Docker entrypoint")
        if after is None:
            lives[0].wait_for("epoch=0, train")
        time.sleep(then if after is None else after)
        has_begun = "epoch=0, train" in lives[0].log
        for rank in ranks:
            processes[rank].send_signal(signal.SIGTERM)
        started = time.monotonic()
        codes = [life.ended(60) for life in lives]
        took = time.monotonic() - started
    what = f"hosts {[rank + 1 for rank in ranks]} stopped {'while training' if has_begun else 'before training'}"
    assert codes == [0] * SIZE, (what, codes, [life.log[-1500:] for life in lives])
    assert [len(list((one.root / "model").glob("model_*"))) for one in job.jobs] == [1, 0, 0], what
    load_model(job.jobs[0].root / "model")
    assert took <= limit, f"{what}: it took {took:.1f} s"
    return f"{what}: {took:.1f} s"
