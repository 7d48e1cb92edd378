"""Files that `sparsemark init` copies: a network, its task, a study, continuous integration. They run as they are."""
