"""`train`: SageMaker's training contract, translated into calls on `fm_core`."""
