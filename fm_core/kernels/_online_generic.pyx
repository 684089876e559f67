"""Learning from each row once, as it comes, compiled for any processor."""

include "_online.pxi"
