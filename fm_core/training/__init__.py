"""`fit`: the loop around a solver, and what stands beside it."""
