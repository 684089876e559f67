"""The contents of requests to the endpoint: instances, named columns, lines of text."""
