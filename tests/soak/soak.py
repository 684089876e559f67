"""Load for a while: `python -m tests.soak.soak --seconds 600`.

Against one multi-model server of two workers: valid requests of every format, whose
scores are known; requests that have to be refused; models that come and go; clients that say
nothing, stop in the midst of a head or a body, or do not read; large bodies; a /ping every
100 ms; and every few seconds SIGKILL for every worker but the oldest of each kind, which
live through the whole run and show whether memory grows. Fails on a wrong answer, on a
valid request that failed though no worker died meanwhile, on a ping that took a second,
and on memory that grew.
"""

import argparse
import collections
import dataclasses
import http.client
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from fm_core.artifact.model_file import save_model
from tests.container.serving.conftest import FEATURE_DIM, make_model, slow_score
from tests.container.serving.records import answers, framed
from tests.contract.serving import serving

JSON, RECORDIO = "application/json", "application/x-recordio-protobuf"
CLIENTS, COMERS = 4, 3
#: Clients that do nothing, or stop in the midst; and seconds after which they try again.
STALLING, STALL_SECONDS = 60, 7
#: Seconds that a ping may take, and between two of them.
PING_IN_TIME, PING_EVERY = 1.0, 0.1

#: What the oldest worker's own memory may grow by after the warm-up: caches, no leak.
ALLOWED_GROWTH_KB = 12_000
#: What a worker has come to once every kind of request was answered: on a busy machine, a third of the time is early.
WARM_KB = 36_000
KINDS = ("holds connections", "computes")


@dataclasses.dataclass
class Tally:
    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    problems: list[str] = dataclasses.field(default_factory=list)
    lost: list[tuple[float, float, str]] = dataclasses.field(default_factory=list)
    kills: list[float] = dataclasses.field(default_factory=list)
    memory_kb: list[list[int]] = dataclasses.field(default_factory=list)
    pings: list[float] = dataclasses.field(default_factory=list)

    def unexplained(self):
        """Requests that got no answer while no worker was killed."""

        def overlaps_a_kill(start, end):
            return any(start - 0.05 <= kill <= end + 0.05 for kill in self.kills)

        return [(start, what) for start, end, what in self.lost if not overlaps_a_kill(start, end)]


def row(chance):
    keys = chance.sample(range(FEATURE_DIM), chance.randint(0, FEATURE_DIM))
    return {key: round(chance.uniform(-2, 2), 3) for key in keys}


def valid_request(chance, rows):
    """A body, its type, the wanted type, and a reader of the scores."""
    dense = [[r.get(key, 0) for key in range(FEATURE_DIM)] for r in rows]
    sparse = [
        {"data": {"features": {"keys": list(r), "shape": [FEATURE_DIM], "values": list(r.values())}}} for r in rows
    ]
    body, content_type = chance.choice(
        [
            (json.dumps({"instances": sparse}), JSON),
            (json.dumps({"instances": [{"features": r} for r in dense]}), JSON),
            ("\n".join(map(json.dumps, sparse)), "application/jsonlines"),
            (b"".join(framed(r.values(), r.keys(), FEATURE_DIM) for r in rows), RECORDIO),
            ("\n".join(",".join(map(str, r)) for r in dense), "text/csv"),
            ("\n".join("0 " + " ".join(f"{key}:{x}" for key, x in r.items()) for r in rows), "text/libsvm"),
        ]
    )
    accept, read = chance.choice(
        [
            (JSON, lambda b: [p["score"] for p in json.loads(b)["predictions"]]),
            ("text/csv", lambda b: [float(line) for line in b.split()]),
            (RECORDIO, lambda b: [label["score"] for label, _, _ in answers(b)]),
        ]
    )
    return body, content_type, accept, read


REFUSALS = [
    (b"{", JSON, 400),
    (b"", JSON, 400),
    (b'{"instances":[{"features":[NaN]}]}', JSON, 400),
    (b'{"instances":[{"keys":[99],"values":[1]}]}', JSON, 400),
    (b"[" * 10_000, JSON, 400),
    (b"\x00" * 100, RECORDIO, 400),
    (b"1,2", "text/csv", 400),
    (b"x", "application/octet-stream", 415),
    (b" " * (6 * 2**20 + 1), JSON, 413),
]


class Soak:
    def __init__(self, server, root, model, comers):
        self.server, self.root, self.model, self.comers = server, root, model, comers
        self.tally, self.stop = Tally(), threading.Event()

    def attempt(self, kind, call):
        """Make one request; one that was lost with its connection, or with who computed, is noted with its time."""
        start = time.monotonic()
        try:
            found = call()
            reason = found[2] if found[0] == 507 and b"computed the answer died" in found[2] else None
        except (OSError, http.client.HTTPException) as error:
            reason = error
        if reason is not None:
            self.tally.lost.append((start, time.monotonic(), f"{kind}: {reason!r}"))
            self.tally.counts["lost"] += 1
            return None
        self.tally.counts[kind] += 1
        return found

    def problem(self, text):
        self.tally.problems.append(text)

    def client(self, seed):
        chance = random.Random(seed)
        while not self.stop.is_set():
            if chance.random() < 0.3:
                body, content_type, expected = chance.choice(REFUSALS)
                found = self.attempt(
                    "refused",
                    lambda: self.server.invoke(body, content_type, path="/models/steady/invoke"),  # noqa: B023
                )
                if found and found[0] != expected:
                    self.problem(f"{content_type} {body[:30]!r}: {found[0]}, expected {expected}")
                continue
            rows = [row(chance) for _ in range(chance.choice([1, 1, 1, 20, 300]))]
            body, content_type, accept, read = valid_request(chance, rows)
            found = self.attempt(
                "answered",
                lambda: self.server.invoke(body, content_type, accept, path="/models/steady/invoke"),  # noqa: B023
            )
            if found is None:
                continue
            if found[0] != 200:
                self.problem(f"valid {content_type}: {found[0]} {found[2][:200]!r}")
            elif not np.allclose(read(found[2]), [slow_score(self.model, r) for r in rows], rtol=1e-4, atol=1e-4):
                self.problem(f"wrong scores for {content_type} as {accept}")

    def comer(self, number):
        """Load a model, ask it, drop it; each may find the other state if its worker dies in between."""
        name, path = f"comer{number}", f"/models/comer{number}"
        body = {"instances": [{"keys": [], "values": []}]}
        load = {"model_name": name, "url": str(self.root / f"models/{name}/model")}
        while not self.stop.is_set():
            found = self.attempt("loads", lambda: self.server.invoke(load, path="/models"))
            if found and found[0] not in (200, 409):
                self.problem(f"load: {found[0]} {found[2][:200]!r}")
            for _ in range(5):
                found = self.attempt("asked", lambda: self.server.invoke(body, path=path + "/invoke"))
                if found and found[0] == 200:
                    score = json.loads(found[2])["predictions"][0]["score"]
                    if score != self.comers[number]:
                        self.problem(f"{name} scored {score}, expected {self.comers[number]}")
                elif found and found[0] != 404:
                    self.problem(f"{name}: {found[0]} {found[2][:200]!r}")
            found = self.attempt("unloads", lambda: self.server.ask("DELETE", path))
            if found and found[0] not in (200, 404):
                self.problem(f"unload: {found[0]}")

    def pinger(self):
        """Ask for health as the platform does, on a connection of its own, and take the time."""
        while not self.stop.wait(PING_EVERY):
            start = time.monotonic()
            found = self.attempt("pings", lambda: self.server.ask("GET", "/ping"))
            if found is None:
                continue
            self.tally.pings.append(time.monotonic() - start)
            if found[0] != 200:
                self.problem(f"ping: {found[0]}")

    def staller(self, seed):
        """Be one of the clients that cost others nothing."""
        chance = random.Random(seed)
        head = b"POST /models/steady/invoke HTTP/1.1\r\nHost: a\r\nContent-Type: application/jsonlines\r\n"
        rows = b'{"keys":[1],"values":[1]}\n' * 40_000
        whole = head + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
        while not self.stop.is_set():
            sent = chance.choice(
                [b"", head[: chance.randint(1, len(head))], whole[: chance.randint(len(head), len(whole))], whole]
            )
            try:
                with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as client:
                    client.sendall(sent)
                    self.tally.counts["stalling"] += 1
                    self.stop.wait(chance.uniform(0, 2 * STALL_SECONDS))
            except OSError:  # hung up on, as it has to be
                self.tally.counts["stalling hung up on"] += 1

    def large(self, seed):
        """Send bodies that take a worker seconds."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            content_type, line = chance.choice(
                [("text/csv", b"1,2,3,4,5\n"), ("text/libsvm", b"0:1 1:2 3:4\n"), (RECORDIO, framed([2.0], [1], 5))]
            )
            body = line * (5_500_000 // len(line))
            found = self.attempt(
                "large",
                lambda: self.server.invoke(body, content_type, "text/csv", path="/models/steady/invoke"),  # noqa: B023
            )
            if found and found[0] not in (200, 503):
                self.problem(f"large {content_type}: {found[0]} {found[2][:200]!r}")

    def run(self, seconds, kill_every):
        load = {"model_name": "steady", "url": str(self.root / "models/steady/model")}
        assert self.server.invoke(load, path="/models")[0] == 200
        oldest = self.server.oldest_of_each_kind()
        threads = [threading.Thread(target=self.client, args=(seed,)) for seed in range(CLIENTS)]
        threads += [threading.Thread(target=self.comer, args=(number,)) for number in range(COMERS)]
        threads += [threading.Thread(target=self.staller, args=(seed,)) for seed in range(STALLING)]
        threads += [threading.Thread(target=self.pinger), threading.Thread(target=self.large, args=(0,))]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(kill_every, max(0, end - time.monotonic())))
            self.tally.memory_kb.append([private_kb(worker) for worker in oldest])
            for victim in set(self.server.workers) - set(oldest):
                self.tally.kills.append(time.monotonic())
                os.kill(victim, signal.SIGKILL)
        self.stop.set()
        for thread in threads:
            thread.join()
        self.server.wait_for(lambda: len(self.server.workers) == 4)
        if not set(oldest) <= set(self.server.workers):
            self.problem("an oldest worker died, though it was never killed")
        return self.tally


def private_kb(process_id):
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def soak(folder, seconds, kill_every):
    """Run it below a folder; the tally."""
    model = make_model()
    comers = {number: float(number + 1) for number in range(COMERS)}
    models = {"steady": model}
    for number, w0 in comers.items():
        models[f"comer{number}"] = type(model)("regressor", w0, model.w, model.V)
    for name, each in models.items():
        place = folder / "models" / name / "model"
        place.mkdir(parents=True)
        save_model(place / "model_algo-1", each, {})
    variables = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_CONTAINER_LOG_LEVEL": 30, "FM_CLIENT_TIMEOUT_SECONDS": 5}
    with serving(folder, folder, **variables) as server:
        return Soak(server, folder, model, comers).run(seconds, kill_every)


def verdict(tally):
    """What went wrong, a line each; empty if nothing did."""
    wrong = tally.problems[:20]
    wrong += [f"{what} at {start:.2f}, though no worker was killed" for start, what in tally.unexplained()][:20]
    for kind, measured in zip(KINDS, zip(*tally.memory_kb, strict=True), strict=False):
        warm = measured[len(measured) // 3 :]
        if max(warm) > max(warm[0], WARM_KB) + ALLOWED_GROWTH_KB:
            wrong.append(f"the memory of the oldest worker that {kind} went from {warm[0]} to {max(warm)} kB")
    slow = [ping for ping in tally.pings if ping >= PING_IN_TIME]
    if slow:
        wrong.append(f"{len(slow)} pings took more than {PING_IN_TIME} s, one of them {max(slow):.2f} s")
    return wrong


def figures(tally):
    """What happened, for docs/explanation/reliability.md."""
    counts = tally.counts
    memory = {}
    for kind, measured in zip(KINDS, zip(*tally.memory_kb, strict=True), strict=False):
        warm = measured[len(measured) // 3 :]
        memory |= {
            f"kB of the oldest worker that {kind}, at first": measured[0],
            f"  after the first third ({kind})": warm[0],
            f"  at most from there on ({kind})": max(warm),
            f"  at last ({kind})": warm[-1],
        }
    return {
        "valid requests answered": counts["answered"],
        "refused as they have to be": counts["refused"],
        "requests to models that come and go": counts["asked"],
        "models loaded": counts["loads"],
        "models unloaded": counts["unloads"],
        "workers killed": len(tally.kills),
        "requests lost with a killed worker": counts["lost"] - len(tally.unexplained()),
        "requests lost otherwise": len(tally.unexplained()),
        "wrong scores, statuses or deaths": len(tally.problems),
        "clients that said nothing, stopped in the midst, or did not read": counts["stalling"],
        "  of which hung up on": counts["stalling hung up on"],
        "bodies of 5.5 MB": counts["large"],
        "pings": len(tally.pings),
        "  the slowest, milliseconds": round(1000 * max(tally.pings, default=0)),
        "  the slowest of a hundred": round(1000 * float(np.percentile(tally.pings or [0], 99))),
    } | memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kill-every", type=float, default=5)
    arguments = parser.parse_args()
    print(f"{arguments.seconds:g} s, load average before: {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        tally = soak(Path(folder), arguments.seconds, arguments.kill_every)
    for name, figure in figures(tally).items():
        print(f"{name:66} {figure:>12,}")
    wrong = verdict(tally)
    print("\n".join(wrong) or "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
