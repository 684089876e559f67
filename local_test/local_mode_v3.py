"""Train, serve, predict and transform with the SageMaker SDK, version 3, on this machine: no AWS account is needed.

usage: python local_test/local_mode_v3.py [IMAGE]

It needs `pip install 'sagemaker>=3'`, a Docker engine with compose, the image (`make image`) and the data of test_dir
(`make local_test/test_dir/input/data`). Version 3 has no estimators: a job is a ModelTrainer, which runs the image
without a command. Its ModelBuilder pulls every image from a registry before it serves it, and needs an existing role.
So a local session serves the local image, with the calls that an endpoint of SageMaker accepts.
"""

import json
import os
import sys
import tarfile
from pathlib import Path

# The SDK looks for an account before it notices that none is needed. Nothing is signed with these.
os.environ.setdefault("AWS_ACCESS_KEY_ID", "none")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "none")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from sagemaker.core.local.local_session import LocalSession
from sagemaker.core.training.configs import Compute, InputData
from sagemaker.train.model_trainer import Mode, ModelTrainer

HERE = Path(__file__).resolve().parent
DATA = HERE / "test_dir/input/data"
WORK = HERE / "work/local_mode_v3"
HYPERPARAMETERS = {
    "feature_dim": 50,
    "num_factors": 4,
    "predictor_type": "binary_classifier",
    "epochs": 20,
    "mini_batch_size": 100,
    "factors_lr": 0.01,
    "linear_lr": 1e-2,
}
NAME = "factorization-machines"


def main() -> None:
    """Run a training job, an endpoint and a batch transform, one after the other."""
    image = sys.argv[1] if len(sys.argv) > 1 else "factorization-machines"
    session = local_session()

    say("train: a training job")
    trainer = ModelTrainer(
        training_mode=Mode.LOCAL_CONTAINER,
        training_image=image,
        compute=Compute(instance_type="local_cpu", instance_count=1),
        hyperparameters=HYPERPARAMETERS,
        local_container_root=f"{WORK}/job",
        sagemaker_session=session,
    )
    trainer.train(
        input_data_config=[
            InputData(channel_name="train", data_source=f"{DATA}/train"),
            InputData(channel_name="test", data_source=f"{DATA}/test"),
        ]
    )
    packed = WORK / "job/compressed_artifacts/model.tar.gz"
    with tarfile.open(packed) as archive:
        print(f"model.tar.gz holds {', '.join(sorted(archive.getnames()))}")

    say("serve: an endpoint")
    request = json.loads((HERE / "test_dir/request.json").read_text())
    client, runtime = session.sagemaker_client, session.sagemaker_runtime_client
    container = {"Image": image, "ModelDataUrl": f"file://{packed}", "Environment": {}}
    variant = {"VariantName": "only", "ModelName": NAME, "InstanceType": "local", "InitialInstanceCount": 1}
    client.create_model(ModelName=NAME, PrimaryContainer=container)
    client.create_endpoint_config(EndpointConfigName=NAME, ProductionVariants=[variant])
    client.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    try:
        answer = runtime.invoke_endpoint(
            Body=json.dumps(request), EndpointName=NAME, ContentType="application/json", Accept="application/json"
        )
        print(f"JSON:     {[round(row['score'], 4) for row in json.load(answer['Body'])['predictions']]}")
        answer = runtime.invoke_endpoint(
            Body=(HERE / "test_dir/request.pbr").read_bytes(),
            EndpointName=NAME,
            ContentType="application/x-recordio-protobuf",
            Accept="application/json",
        )
        print(f"RecordIO: {[round(row['score'], 4) for row in json.load(answer['Body'])['predictions']]}")
    finally:
        client.delete_endpoint(EndpointName=NAME)

    say("transform: a file of rows")
    (WORK / "rows").mkdir(parents=True, exist_ok=True)
    (WORK / "rows/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in request["instances"]))
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"file://{WORK}/rows"}}
    client.create_transform_job(
        TransformJobName=NAME,
        ModelName=NAME,
        TransformInput={"DataSource": source, "ContentType": "application/jsonlines", "SplitType": "Line"},
        TransformOutput={"S3OutputPath": f"file://{WORK}/scores", "Accept": "application/jsonlines"},
        TransformResources={"InstanceType": "local", "InstanceCount": 1},
        BatchStrategy="MultiRecord",
    )
    print((WORK / "scores/rows.jsonl.out").read_text(), end="")


def local_session() -> LocalSession:
    """Give a session that keeps to this machine."""
    (WORK / "containers").mkdir(parents=True, exist_ok=True)
    (WORK / "job").mkdir(parents=True, exist_ok=True)
    quiet = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    session = LocalSession(default_bucket="unused", sagemaker_config=quiet)
    session.config = {"local": {"local_code": True, "container_root": f"{WORK}/containers"}}
    return session


def say(what: str) -> None:
    """Head a step."""
    print(f"\n--- {what}", flush=True)


if __name__ == "__main__":
    main()
