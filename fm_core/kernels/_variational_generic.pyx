"""One sweep of mean-field variational inference, compiled for any processor."""

include "_variational.pxi"
