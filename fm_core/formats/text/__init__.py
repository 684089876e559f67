"""CSV and libsvm, line by line."""
