"""Networks of the study by name, as references that the harness resolves from the repository's root."""

NETWORKS = {
    "cnn3": "models/cnn.py:cnn3",
    "cnn4": "models/cnn.py:cnn4",
    "cnn9": "models/cnn.py:cnn9",
    "cnn9_wide": "models/cnn.py:cnn9_wide",
    "resnet3": "models/resnet3.py:resnet3",
    "resnet3_max": "models/resnet3.py:resnet3_max",
    "unet": "models/unet.py:unet",
    "unet_head": "models/unet_head.py:unet_head",
}
INPUT_SHAPE = (1, 3, 128, 128)
