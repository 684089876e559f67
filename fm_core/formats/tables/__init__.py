"""Tables with columns: the schema that makes features of them, and its readers."""

from fm_core.formats.tables.encoder import TableSchema

__all__ = ["TableSchema"]
