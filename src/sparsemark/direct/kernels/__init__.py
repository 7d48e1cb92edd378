"""Compiled code of the interpreter: a file for each kind of operation, listed in `operations`."""
