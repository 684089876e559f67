"""The HTTP side of `serve`: the Flask app, its formats, and the statuses of its errors."""

import os

# gunicorn reads it when it is imported, and ends by a traceback where it is no number. There are as many workers as
# SAGEMAKER_MODEL_SERVER_WORKERS says.
os.environ.pop("WEB_CONCURRENCY", None)
