"""Log a model to MLflow with its scikit-learn flavour, load it and score rows: `python examples/mlflow_model.py`.

Needs pandas and mlflow, or mlflow-skinny (the extra `mlflow`). MLFLOW_TRACKING_URI names the place of runs. The model
is an ordinary estimator, so it needs no flavour or wrapper of its own. The script names the format because MLflow's
default, skops, accepts only classes of scikit-learn.
"""

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.model_selection import train_test_split

from fm_core import FMClassifier


def main() -> None:
    """Learn, log, load, and compare."""
    random = np.random.default_rng(0)
    visits = pd.DataFrame(
        {"city": random.choice(["Oslo", "Rome", "Lima"], 2000), "spent": random.gamma(2, 50, 2000).round(2)}
    )
    bought = np.where(random.random(2000) < np.where(visits.city == "Oslo", 0.8, 0.2), "yes", "no")
    learned, held_out, y, y_held_out = train_test_split(visits, bought, random_state=0)

    mlflow.set_experiment("factorization machines")
    with mlflow.start_run():
        model = FMClassifier().fit(learned, y)
        mlflow.log_params({name: value for name, value in model.get_params().items() if value is not None})
        for epoch, metrics in enumerate(model.history_):
            mlflow.log_metrics(metrics["train"], step=epoch)
        mlflow.log_metric("accuracy", model.score(held_out, y_held_out))
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(learned, model.predict(learned)),
            serialization_format="cloudpickle",
        )

    again = mlflow.sklearn.load_model(logged.model_uri)
    served = mlflow.pyfunc.load_model(logged.model_uri)
    assert (again.predict_proba(held_out) == model.predict_proba(held_out)).all()
    assert (served.predict(held_out) == model.predict(held_out)).all()
    print(f"accuracy {again.score(held_out, y_held_out):.3f}, of the larger class {(y_held_out == 'no').mean():.3f}")


if __name__ == "__main__":
    main()
