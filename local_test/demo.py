"""A model of real data, trained and served through the SageMaker contract: `make demo`.

It does on this machine what SageMaker does, with the real `train` and `serve` processes. It writes the a9a data as
RecordIO-protobuf, lays out the files of a training job, and runs the job. Then it packs the model, unpacks it for an
endpoint, serves it, requests predictions in two formats, and stops the endpoint. If a step fails, it prints why and
exits with 1.
"""

import json
import re
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a9a_data import HYPERPARAMETERS, load
from fm_core.formats import write_records
from opt_ml import ContractError, lay_out, pack_model, serving, train, unpack_model
from responses import read_scores

WORK = Path(__file__).parent / "work" / "demo"
RECORDIO = "application/x-recordio-protobuf"
SHOWN = 10
# What logistic regression reaches on these test rows is .3242.
WORST_CROSS_ENTROPY = 0.325


def main() -> None:
    """Run the demo from data to predictions."""
    files = convert()
    hyperparameters = json.loads(HYPERPARAMETERS.read_text())

    say("train: the log of the job")
    job = WORK / "job"
    lay_out(job, hyperparameters, files)
    log = train(job)

    say("model: packed and unpacked as SageMaker does")
    packed = pack_model(job)
    endpoint = WORK / "endpoint"
    unpack_model(packed, endpoint)
    print(f"  {packed.relative_to(WORK.parents[1])}, {packed.stat().st_size:,} bytes")

    say("serve: predictions of the test rows")
    rows, labels = load("test")
    with serving(endpoint) as address:
        from_json = ask_json(address, rows[:SHOWN])
        scores = read_scores(post(address, files["test"].read_bytes(), RECORDIO, accept=RECORDIO))
    print("  server stopped")
    show(scores, labels)
    check(scores, from_json, labels, log)


def convert() -> dict[str, Path]:
    """Write the data as RecordIO-protobuf, as they would lie in S3."""
    say("data: a9a (UCI Adult, CC BY 4.0) as RecordIO-protobuf")
    WORK.mkdir(parents=True, exist_ok=True)
    files = {}
    for channel in ("train", "test"):
        rows, labels = load(channel)
        files[channel] = WORK / f"{channel}.pbr"
        with files[channel].open("wb") as file:
            write_records(file, rows, labels)
        print(f"  {channel}: {rows.shape[0]:,} rows, {files[channel].stat().st_size:,} bytes")
    return files


def ask_json(address: str, rows: Any) -> NDArray[np.float32]:
    """Ask for the scores of a few sparse rows in JSON."""
    instances = [
        {"data": {"features": {"keys": row.indices.tolist(), "shape": [row.shape[1]], "values": row.data.tolist()}}}
        for row in rows
    ]
    answer = json.loads(post(address, json.dumps({"instances": instances}).encode(), "application/json"))
    return np.array([prediction["score"] for prediction in answer["predictions"]], np.float32)


def post(address: str, body: bytes, content_type: str, accept: str = "application/json") -> bytes:
    """Send one request to /invocations."""
    headers = {"Content-Type": content_type, "Accept": accept}
    request = urllib.request.Request(address + "/invocations", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return bytes(response.read())


def show(scores: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
    """Print the first predictions beside the truth."""
    print("\n  row  score   predicted  true")
    for row, (score, label) in enumerate(zip(scores[:SHOWN], labels, strict=False)):
        predicted = float(score >= 0.5)
        wrong = "" if predicted == label else "  x"
        print(f"  {row:3d}  {score:.4f}  {predicted:9.0f}  {label:4.0f}{wrong}")


def check(scores: NDArray[np.float32], from_json: NDArray[np.float32], labels: NDArray[np.float32], log: str) -> None:
    """Compare what was served with the truth, between formats, and with what the job said of its test channel."""
    if len(scores) != len(labels):
        raise ContractError(f"{len(scores)} predictions came back for {len(labels)} records")
    if not np.allclose(from_json, scores[: len(from_json)], rtol=0, atol=1e-6):
        raise ContractError(f"JSON and RecordIO disagree: {from_json} and {scores[: len(from_json)]}")
    predicted = scores >= 0.5
    right = np.where(labels == 1, scores, 1 - scores).astype(np.float64)
    measured = {
        "binary_classification_accuracy": float(np.mean(predicted == labels)),
        "binary_classification_cross_entropy": float(-np.mean(np.log(np.maximum(right, 1e-15)))),
        "binary_f_1.000": float(2 * np.sum(predicted * labels) / (np.sum(predicted) + np.sum(labels))),
    }
    said = dict(re.findall(r"#quality_metric: host=\S+, test (\S+) <(?:loss|score)>=(\S+)", log))
    print("\n  test score                           served   training job")
    for name, value in measured.items():
        print(f"  {name:35s}  {value:.5f}  {float(said.get(name, 'nan')):.5f}")
        if name not in said or abs(float(said[name]) - value) > 1e-4:
            raise ContractError(f"the served model's {name} is {value}, and the training job said {said.get(name)}")
    loss = measured["binary_classification_cross_entropy"]
    if loss > WORST_CROSS_ENTROPY:
        raise ContractError(f"the test cross entropy is {loss:.4f}, expected at most {WORST_CROSS_ENTROPY}")


def say(heading: str) -> None:
    """Print a heading."""
    print(f"\n== {heading}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a stopped demo stops its server
    try:
        main()
    except (ContractError, OSError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        sys.exit(1)
    print("\nThe demo has passed.")
