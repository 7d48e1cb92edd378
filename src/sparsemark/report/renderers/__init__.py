"""Forms that a report takes: text for a terminal, a page, a file or a job's log."""
