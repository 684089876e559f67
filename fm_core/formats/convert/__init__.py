"""`fm convert`: data of one format into another."""
