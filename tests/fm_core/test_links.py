import math
import warnings

import numpy as np
import pytest

from fm_core.errors import DataError
from fm_core.hyperparameters import parameters
from fm_core.links import LINKS, link_for
from fm_core.metrics import metrics_for


def test_every_predictor_type_has_a_link_whose_loss_is_one_of_its_metrics():
    assert set(LINKS) == set(parameters()["predictor_type"].choices)
    for name, link in LINKS.items():
        assert link.predictor_type == name
        assert metrics_for(name).names[link.loss_metric] is True


def test_scores_are_probabilities_of_a_classifier_only():
    z = np.array([-1000.0, -1.5, 0.0, 2.0, 1000.0])
    assert (link_for("regressor").score(z) == z).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = link_for("binary_classifier").score(z)
    assert found == pytest.approx([0, 1 / (1 + math.exp(1.5)), 0.5, 1 / (1 + math.exp(-2.0)), 1])


@pytest.mark.parametrize(
    ("predictor_type", "labels", "message"),
    [
        ("binary_classifier", [0, 1, -1], r"row 2: the label is -1, expected 0 or 1 for a binary classifier"),
        ("binary_classifier", [0.5], r"row 0: the label is 0.5, expected 0 or 1"),
        ("binary_classifier", [1, math.nan], r"row 1: the label is nan, expected 0 or 1"),
        ("regressor", [1, math.inf], r"row 1: the label is inf, expected a finite number"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(predictor_type, labels, message):
    with pytest.raises(DataError, match=message):
        link_for(predictor_type).check_labels(np.array(labels, np.float32))


def test_labels_that_can_be_learned_are_not():
    link_for("binary_classifier").check_labels(np.array([0, 1, 1], np.float32))
    link_for("regressor").check_labels(np.array([-3.5, 1e30], np.float32))
    link_for("regressor").check_labels(np.zeros(0, np.float32))
