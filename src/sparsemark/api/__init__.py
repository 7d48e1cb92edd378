"""What programs call: load, export, benchmark, and the run that a benchmark returns."""
