"""Claims of the paper in the order of its ledger, each with the function that judges it."""

from __future__ import annotations

from bench.paper.claims.cost import (
    file_is_lighter_when_sparse,
    file_is_lighter_with_zeros,
    masks_are_faster_in_onnxruntime,
    masks_are_faster_in_torch,
    memory_is_less,
    resnet_is_slow,
    retraining_is_faster,
    sparse_engine_is_faster,
    sparse_matrices_are_faster,
)
from bench.paper.claims.data import accuracy_misleads, adam_is_best, images_are_alike, sizes_differ, split_decides
from bench.paper.claims.networks import (
    apart_mends,
    deeper_is_better,
    heads_disturb,
    label_comes_first,
    resnet_is_best,
    rises_every_epoch,
    unet_falls,
)
from bench.paper.claims.pruning import (
    collapses_at_ninety,
    collapses_at_seventy,
    drops_at_ninety,
    iterative_is_alike,
    kept_to_seventy,
    pruning_regularises,
)
from bench.paper.verdicts import Claim

CLAIMS = (
    Claim("1a", "With more zeros PyTorch infers faster (figure 10)", masks_are_faster_in_torch),
    Claim("1b", "With more zeros ONNX Runtime infers faster", masks_are_faster_in_onnxruntime),
    Claim("2a", "Faster still as a sparse matrix: those of PyTorch and SciPy", sparse_matrices_are_faster),
    Claim("2b", "Faster still as a sparse matrix: an engine built for it", sparse_engine_is_faster),
    Claim("3a", "Pruning makes the file lighter: zeros stored like any weight", file_is_lighter_with_zeros),
    Claim("3b", "Pruning makes the file lighter: zeros left out", file_is_lighter_when_sparse),
    Claim("3c", "Pruning makes the model lighter in memory", memory_is_less),
    Claim("4", "Retraining a pruned model is significantly faster", retraining_is_faster),
    Claim("5a", "Accuracy is kept up to 70 % zeros", kept_to_seventy),
    Claim("5b", "Accuracy drops at 90 % zeros", drops_at_ninety),
    Claim("6", "One-shot and iterative pruning end alike", iterative_is_alike),
    Claim("7a", "Before retraining, accuracy collapses at 70 % zeros", collapses_at_seventy),
    Claim("7b", "Before retraining, accuracy collapses at 90 % zeros", collapses_at_ninety),
    Claim("8a", "Deeper CNNs are better: 3 < 4 < 9 layers", deeper_is_better),
    Claim("8b", "ResNet3 is the best of all on test", resnet_is_best),
    Claim("9a", "The U-Net's accuracy falls after epoch 20", unet_falls),
    Claim("9b", "Two heads trained jointly segment worse than one", heads_disturb),
    Claim("9c", "Separately backpropagated losses mend it", apart_mends),
    Claim("9d", "The label is good first, then the mask takes over (figure 11)", label_comes_first),
    Claim("10", "Accuracy alone misleads on two classes", accuracy_misleads),
    Claim("11", "A split by slice scores higher than one by patient", split_decides),
    Claim("12", 'ResNet "takes too much time for training"', resnet_is_slow),
    Claim("13", "Adam at 1e-3 with momentum 0.9 gives the best results", adam_is_best),
    Claim("14a", "The images are all different in size", sizes_differ),
    Claim("14b", "The images are very similar to each other", images_are_alike),
    Claim("15", "Pruning regularises as dropout does: accuracy sometimes rises", pruning_regularises),
    Claim("16", "Validation accuracy of ResNet and CNN keeps rising (table 1)", rises_every_epoch),
)
