"""How it was trained: data, recipes, the loop, and what the harness calls."""
