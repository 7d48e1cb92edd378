"""Measurement: parity of an engine's answers, and its timing against a reference."""
