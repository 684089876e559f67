"""The whole state of a training as a file: its format, when it is written, and changes of the number of hosts."""
