"""Train, deploy, predict and transform with the SageMaker SDK, version 2, on this machine: no AWS account is needed.

usage: python local_test/local_mode.py [IMAGE]

It needs `pip install 'sagemaker[local]<3'`, a Docker engine with compose, the image (`make image`) and the data of
test_dir (`make local_test/test_dir/input/data`). To train on SageMaker, replace `local` with an instance type,
`file://` with `s3://`, and use IMAGE and ROLE of an account: see on_sagemaker.py.
"""

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

# The SDK looks for an account before it notices that none is needed. Nothing is signed with these.
os.environ.setdefault("AWS_ACCESS_KEY_ID", "none")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "none")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import numpy as np
from numpy.typing import NDArray
from sagemaker.amazon.common import RecordDeserializer, RecordSerializer
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.serializers import JSONSerializer

HERE = Path(__file__).resolve().parent
DATA = HERE / "test_dir/input/data"
WORK = HERE / "work/local_mode"
ROLE = "arn:aws:iam::111111111111:role/unused"
FEATURE_DIM = 50
HYPERPARAMETERS = {
    "feature_dim": FEATURE_DIM,
    "num_factors": 4,
    "predictor_type": "binary_classifier",
    "epochs": 20,
    "mini_batch_size": 100,
    "factors_lr": 0.01,
    "linear_lr": 1e-2,
}


def main() -> None:
    """Run a training job, an endpoint and a batch transform, one after the other."""
    image = sys.argv[1] if len(sys.argv) > 1 else "factorization-machines"
    session = local_session()

    say("fit: a training job")
    estimator = Estimator(
        image_uri=image,
        role=ROLE,
        instance_count=1,
        instance_type="local",
        hyperparameters=HYPERPARAMETERS,
        output_path=f"file://{WORK}/models",
        sagemaker_session=session,
    )
    estimator.fit({"train": f"file://{DATA}/train", "test": f"file://{DATA}/test"})
    with tarfile.open(estimator.model_data.removeprefix("file://")) as archive:
        print(f"model.tar.gz holds {', '.join(sorted(archive.getnames()))}")

    say("deploy: an endpoint, asked in two formats")
    request = json.loads((HERE / "test_dir/request.json").read_text())
    predictor = estimator.deploy(1, "local", serializer=JSONSerializer(), deserializer=JSONDeserializer(), wait=False)
    try:
        answer = predictor.predict(request)
        print(f"JSON:     {[round(row['score'], 4) for row in answer['predictions']]}")
        predictor.serializer, predictor.deserializer = RecordSerializer(), RecordDeserializer()
        records = predictor.predict(dense_rows(request))  # the SDK's own writer of records knows dense rows only
        print(f"RecordIO: {[round(r.label['score'].float32_tensor.values[0], 4) for r in records]}")
    finally:
        predictor.delete_endpoint()

    say("transform: a file of rows")
    (WORK / "rows").mkdir(parents=True, exist_ok=True)
    (WORK / "rows/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in request["instances"]))
    transformer = estimator.transformer(
        1,
        "local",
        strategy="MultiRecord",
        accept="application/jsonlines",
        output_path=f"file://{WORK}/scores",
    )
    transformer.transform(
        f"file://{WORK}/rows",
        content_type="application/jsonlines",
        split_type="Line",
        logs=False,  # they would be looked for in CloudWatch
    )
    print((WORK / "scores/rows.jsonl.out").read_text(), end="")


def local_session() -> LocalSession:
    """Give a session that keeps to this machine."""
    (WORK / "containers").mkdir(parents=True, exist_ok=True)
    quiet = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    session = LocalSession(default_bucket="unused", sagemaker_config=quiet)
    session.config = {"local": {"local_code": True, "container_root": f"{WORK}/containers"}}
    return session


def dense_rows(request: dict[str, Any]) -> NDArray[np.float32]:
    """Write the sparse rows of a JSON request out."""
    rows = np.zeros((len(request["instances"]), FEATURE_DIM), np.float32)
    for row, instance in zip(rows, request["instances"], strict=True):
        features = instance["data"]["features"]
        row[features["keys"]] = features["values"]
    return rows


def say(what: str) -> None:
    """Head a step."""
    print(f"\n--- {what}", flush=True)


if __name__ == "__main__":
    main()
