"""What metrics are called where people read: their words, in the place of the names that logs and metrics.json have."""

__all__ = ["in_words"]

_WORDS = {
    "binary_classification_accuracy": "accuracy",
    "binary_classification_cross_entropy": "cross entropy",
    "binary_f_1.000": "F1 score",
    "rmse": "root mean squared error",
    "mse": "mean squared error",
    "absolute_loss": "mean absolute error",
}


def in_words(name: str) -> str:
    """Return the words for a metric.

    Parameters
    ----------
    name : str
        The name of the metric in logs and metrics.json.

    Returns
    -------
    words : str
        The name itself if there are none.
    """
    return _WORDS.get(name, name)
