"""`fit`: the loop around a solver, and its parts."""
