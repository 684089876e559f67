"""The HTTP side of `serve`: the Flask app, its formats, and the statuses of its errors."""
