"""Explanation of an artifact: its layers timed one by one, and linters that time a change beside what there is."""
