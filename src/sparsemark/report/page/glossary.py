"""Words of a page, explained for readers who have not measured before."""

from __future__ import annotations

from sparsemark.report import agreement
from sparsemark.report.trust import LEGEND

GLOSSARY = (
    ("speedup", "Time of the dense network over the time of the cell, both measured in pairs. Above 1 is faster."),
    ("cell", "One network, pruned one way, on one engine in one precision: a row of the table."),
    ("engine", "What computes the network. Direct CSR is sparsemark's own: it skips zeros and runs .csr files."),
    ("magnitude, block4", "Which weights become zero: the smallest, one by one, or in blocks of four."),
    ("quantisation-aware", "Fine-tuned with weights and inputs rounded as in int8, so that int8 loses less."),
    ("dense", "The network before pruning. Speedups are over it, in the engine that the tiles name."),
    ("pair, ABBA", "Blocks of calls as reference, candidate, candidate, reference: both feel the same machine."),
    ("[low, high]", "Holds the true value in 95 of 100 repetitions. Overlapping ones are not told apart."),
    ("[low, high] of a score", "95 %, by groups where the task has them. Single right or wrong answers: Wilson's. "
     "Where all agree, as if the next of so many could differ: 100 of 100 right is [96.3, 100]."),
    ("folds", "Networks of one pruning, each tested on other inputs. A point is their mean, its bar their intervals."),
    ("front", "Cells than which no other is both as fast and as good. F1 is the fastest of them."),
    ("keeps it", "The score is no worse than the dense network's by more than is allowed."),
    ("a larger loss is possible", "The loss that was measured is small enough, but no interval excludes a larger one "
     "than is allowed. A yes without these words: one does."),
    ("trust", LEGEND.removeprefix("trust: ") + "."),
    ("disturbed, (!)", "The reference moved by more than 3 %, or others took more than 2 % of the processor."),
    ("p50, p90, p99", "Time that 50, 90 or 99 of 100 calls do not exceed. p90 needs 64 calls, p99 662."),
    ("launch", "A fresh process. Memory lies elsewhere in each, which alone can change times by percents."),
    ("A/A control", "The dense network against itself. Its true speedup is 1, so what it shows is noise."),
    ("all-ones, random", "Controls: a mask that zeroes nothing, and one that zeroes weights at random."),
    ("parity", "Largest difference from the same network computed in float64, relative to the largest output. Without "
     "parity there is no latency."),
    ("decides as dense", f"{agreement.MEANING[0].upper()}{agreement.MEANING[1:]}. It is no score: "
     "both may be wrong, and untrained networks often decide alike whatever their input."),
    ("zeros, channels", "Weights set to zero keep all shapes. Removed channels make layers smaller."),
    ("ideal", "1 / (1 - s): the speedup if every zero saved its multiplication and nothing else took time."),
    ("CSR", "Compressed sparse rows: a file that stores only weights that are not zero."),
)  # fmt: skip
"""Term and meaning, in the order of the page."""
