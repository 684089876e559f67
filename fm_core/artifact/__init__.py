"""The model as a file: the built-in's own artifact, read and written."""

from fm_core.artifact.model_file import load_model, read_meta, save_model

__all__ = ["load_model", "read_meta", "save_model"]
