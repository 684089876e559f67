"""SageMaker's training and inference contract, translated into calls on fm_core."""
