"""Test files that take longest: a worker that gets one of them last works on alone."""

from __future__ import annotations

LONGEST = (
    "direct/test_direct_networks.py",
    "study/test_resume.py",
    "study/test_against.py",
    "cli/test_init.py",
    "cli/test_bench.py",
    "engines/test_engines.py",
    "training/test_training_joint.py",
    "study/test_any_network.py",
    "cli/test_signals.py",
    "direct/test_direct_operators.py",
    "study/test_pytest_plugin.py",
    "study/test_study.py",
    "direct/test_direct_hostile_files.py",
    "cli/test_sensitivity.py",
    "study/test_once.py",
    "api/test_benchmarking.py",
    "study/test_own_task.py",
    "study/test_scratch_package.py",
    "study/test_launches.py",
    "analysis/test_paired_launches.py",
    "cli/test_sweeps.py",
    "networks/test_checkpoint.py",
)
"""Paths below `tests`, those of over five seconds, longest first. One that is missing costs time, never a test."""
