"""Training of the study's networks: data, splits, recipes, loop, evaluation, and the task that the harness calls."""
