"""Analysis of measurements: statistics, comparison of two runs, the gate. Numbers only."""
