"""The whole state of a training as a file: its bytes, when one is written, other numbers of hosts."""
