"""Rankings on several classes of hosts."""

from __future__ import annotations

from sparsemark.records.measurement import MEASURED, UNSUPPORTED, Measurement
from sparsemark.records.run import Run
from sparsemark.report.rankings import rankings_markdown


def run(**speedups):
    return Run(
        tuple(
            Measurement(name, MEASURED if speedup else UNSUPPORTED, model="net", method="magnitude", speedup=speedup)
            for name, speedup in speedups.items()
        )
    )


def test_only_cells_whose_rank_differs_are_listed():
    said = rankings_markdown({"epyc": run(a=3.0, b=2.0, c=1.0), "xeon": run(a=3.5, b=1.0, c=1.5)})
    assert said.startswith("Ranking by speedup: differs in 2 of 3 cells")
    assert [line for line in said.splitlines() if line.startswith("|")][2:] == [
        "| b | 2 | 2.00x | 3 | 1.000x |",
        "| c | 3 | 1.000x | 2 | 1.50x |",
    ]


def test_rankings_that_agree_are_one_line():
    said = rankings_markdown({"epyc": run(a=3.0, b=2.0), "xeon": run(a=1.2, b=1.1)})
    assert said == "Ranking by speedup: the same on epyc, xeon in all 2 cells measured on each.\n"


def test_cells_that_a_class_did_not_measure_take_no_rank():
    said = rankings_markdown({"epyc": run(a=3.0, b=2.0, c=1.0), "xeon": run(a=None, b=2.0, c=1.0)})
    assert "in all 2 cells" in said
