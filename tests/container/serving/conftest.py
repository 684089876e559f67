"""A model of five features, apps around it, and the scores it has to give, computed the slow way."""

import itertools
import math

import numpy as np
import pytest

from container.serving.app import create_app
from container.serving.settings import ServingSettings
from fm_core.model import Model

FEATURE_DIM = 5


def make_model(predictor_type="regressor", feature_dim=FEATURE_DIM, num_factors=3):
    random = np.random.default_rng(0)
    return Model(
        predictor_type,
        0.25,
        random.standard_normal(feature_dim).astype(np.float32),
        random.standard_normal((feature_dim, num_factors)).astype(np.float32),
    )


def slow_score(model, features):
    """The definition: a sum over single features and a sum over pairs of them."""
    z = model.w0 + sum(float(model.w[i]) * x for i, x in features.items())
    for (i, x), (j, y) in itertools.combinations(features.items(), 2):
        z += float(np.dot(model.V[i].astype(float), model.V[j].astype(float))) * x * y
    return 1 / (1 + math.exp(-z)) if model.is_classifier else z


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def classifier():
    return make_model("binary_classifier")


@pytest.fixture(scope="session")
def client(model):
    return create_app(model, ServingSettings()).test_client()


@pytest.fixture(scope="session")
def classifier_client(classifier):
    return create_app(classifier, ServingSettings()).test_client()
