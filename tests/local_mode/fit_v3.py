"""Runs in an environment of the SDK, version 3: runs one training job in local mode.

usage: PYTHONPATH=LOCAL_TEST python fit_v3.py IMAGE INSTANCES HYPERPARAMETERS

LOCAL_TEST holds local_mode_v3.py and the data; HYPERPARAMETERS is a JSON object, added to the example's.
"""

import json
import sys

from sagemaker.core.training.configs import Compute, InputData
from sagemaker.train.model_trainer import Mode, ModelTrainer

import local_mode_v3

image, instances, hyperparameters = sys.argv[1:]
session = local_mode_v3.local_session()
trainer = ModelTrainer(
    training_mode=Mode.LOCAL_CONTAINER,
    training_image=image,
    compute=Compute(instance_type="local_cpu", instance_count=int(instances)),
    hyperparameters={**local_mode_v3.HYPERPARAMETERS, **json.loads(hyperparameters)},
    local_container_root=f"{local_mode_v3.WORK}/job",
    sagemaker_session=session,
)
channels = ("train", "test")
trainer.train([InputData(channel_name=name, data_source=f"{local_mode_v3.DATA}/{name}") for name in channels])
