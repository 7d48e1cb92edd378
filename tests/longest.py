"""Test files that take longest: a worker that gets one of them last works on alone."""

from __future__ import annotations

LONGEST = ()
"""Paths below `tests`, those of over five seconds, longest first. One that is missing costs time, never a test."""
