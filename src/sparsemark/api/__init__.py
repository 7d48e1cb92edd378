"""Public Python API: load, export, benchmark, and the run that a benchmark returns."""
