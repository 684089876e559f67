"""Training jobs by the SDKs in local mode: hyperparameters as they are sent, failures, and two instances."""

import json
import re

import pytest


def final_configuration(output):
    """Give the hyperparameters that the container printed."""
    return re.search(r"Final configuration: (\{.*?\})", output)[1]


def test_hyperparameters_arrive_as_the_sdk_sends_them(sdk, image, local_test):
    """Small and whole floats, texts, and numbers given as texts: the SDK writes each in its own way."""
    given = {
        "linear_lr": 1e-05,
        "bias_lr": 1.0,
        "epochs": "2",
        "factors_init_method": "uniform",
        "factors_init_scale": 0.1,
    }
    done = sdk.fit(local_test, image, json.dumps(given))
    assert done.code == 0, done.output[-5000:]
    configuration = final_configuration(done.output)
    for name, value in {"linear_lr": 1e-05, "bias_lr": 1, "epochs": 2, "factors_init_scale": 0.1}.items():
        assert float(re.search(rf"'{name}': '?([^',}}]+)", configuration)[1]) == value
    assert "'factors_init_method': 'uniform'" in configuration
    assert "completed 100.0 % of epochs" in done.output


def test_the_reason_of_a_failure_reaches_the_user(sdk, image, local_test):
    done = sdk.fit(local_test, image, json.dumps({"num_factors": "many"}))
    assert done.code != 0
    assert re.search(r"ClientError: .*num_factors.*many", done.output), done.output[-5000:]
    assert "exited with code 1" in done.output


def test_two_instances_train_the_model_that_one_does(sdk, image, local_test):
    """Of twice the batch: a batch of two hosts is two batches together."""
    scores = {}
    for instances, rows in ((1, 100), (2, 50)):
        done = sdk.fit(local_test, image, json.dumps({"mini_batch_size": rows}), instances)
        assert done.code == 0, done.output[-5000:]
        said = re.findall(r"host=(\S+), test binary_classification_cross_entropy <loss>=(\S+)", done.output)
        assert len({host for host, _ in said}) == instances
        scores[instances] = [float(loss) for _, loss in said]
    assert scores[2] == pytest.approx(scores[1] * 2, abs=1e-5)
