"""Study: a pruning grid over models, prepared, measured and published."""
