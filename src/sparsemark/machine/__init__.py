"""The machine: its description, and what disturbs a measurement on it."""
