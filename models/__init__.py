"""Networks of the study by name, as references that the harness resolves from the repository's root."""

NETWORKS = {
    "cnn3": "models/cnn.py:cnn3",
    "cnn4": "models/cnn.py:cnn4",
    "cnn9": "models/cnn.py:cnn9",
    "cnn9_wide": "models/cnn.py:cnn9_wide",
}
INPUT_SHAPE = (1, 3, 128, 128)
