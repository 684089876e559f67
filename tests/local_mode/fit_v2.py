"""Runs in an environment of the SDK, version 2: runs one training job in local mode.

usage: PYTHONPATH=LOCAL_TEST python fit_v2.py IMAGE INSTANCES HYPERPARAMETERS

LOCAL_TEST holds local_mode.py and the data; HYPERPARAMETERS is a JSON object, added to the example's.
"""

import json
import sys

from sagemaker.estimator import Estimator

import local_mode

image, instances, hyperparameters = sys.argv[1:]
estimator = Estimator(
    image_uri=image,
    role=local_mode.ROLE,
    instance_count=int(instances),
    instance_type="local",
    hyperparameters={**local_mode.HYPERPARAMETERS, **json.loads(hyperparameters)},
    output_path=f"file://{local_mode.WORK}/models",
    sagemaker_session=local_mode.local_session(),
)
estimator.fit({"train": f"file://{local_mode.DATA}/train", "test": f"file://{local_mode.DATA}/test"})
