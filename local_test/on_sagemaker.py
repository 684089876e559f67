"""Push the image to a registry of an AWS account and train there: local_mode.py does the same on this machine.

usage: python local_test/on_sagemaker.py ROLE S3_FOLDER [INSTANCES]

ROLE is the ARN of an execution role. S3_FOLDER holds train/ and test/, created by `fm convert` and uploaded by
`aws s3 sync`. It needs `pip install 'sagemaker<3' boto3`, Docker, the image (`make image`) and the credentials of an
account that may push to ECR and start jobs. It costs money; no test runs it.
"""

import base64
import subprocess
import sys

import boto3
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput

IMAGE = "factorization-machines"
RECORDIO = "application/x-recordio-protobuf"


def main() -> None:
    """Push, then train, and say where the model is."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    role, folder = sys.argv[1], sys.argv[2].rstrip("/")
    instances = int(sys.argv[3]) if len(sys.argv) == 4 else 1
    estimator = Estimator(
        image_uri=push(IMAGE, "latest"),
        role=role,
        instance_count=instances,
        instance_type="ml.c5.xlarge",
        output_path=f"{folder}/models",
        hyperparameters={
            "feature_dim": 50,
            "num_factors": 4,
            "predictor_type": "binary_classifier",
            "epochs": 20,
            "mini_batch_size": 100,
        },
        # A tuning job takes the same list; docs/metric_definitions.json has all of them.
        metric_definitions=[
            {
                "Name": "test:binary_classification_accuracy",
                "Regex": r"#quality_metric: host=\S+, test binary_classification_accuracy <score>=(\S+)",
            }
        ],
    )
    estimator.fit({name: TrainingInput(f"{folder}/{name}/", content_type=RECORDIO) for name in ("train", "test")})
    print(f"the model is {estimator.model_data}")


def push(image: str, tag: str) -> str:
    """Push a local image to ECR, making its repository if there is none, and give its address there."""
    ecr = boto3.client("ecr")
    try:
        repository = ecr.describe_repositories(repositoryNames=[image])["repositories"][0]["repositoryUri"]
    except ecr.exceptions.RepositoryNotFoundException:
        repository = ecr.create_repository(repositoryName=image)["repository"]["repositoryUri"]
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    password = base64.b64decode(token).partition(b":")[2]
    registry = repository.partition("/")[0]
    login = ["docker", "login", "--username", "AWS", "--password-stdin", registry]
    subprocess.run(login, input=password, check=True)
    subprocess.run(["docker", "tag", image, f"{repository}:{tag}"], check=True)
    subprocess.run(["docker", "push", f"{repository}:{tag}"], check=True)
    return f"{repository}:{tag}"


if __name__ == "__main__":
    main()
