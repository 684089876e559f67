"""The algorithms: each a module that implements `base.Solver`."""
