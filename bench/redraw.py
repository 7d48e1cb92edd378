"""Tables and figures under `results/`, made anew from the committed files.

    python -m bench.redraw

Nothing is trained or measured. Each result file (`results/<machine>/<study>.json`) and each file of scores
(`results/tables/<study>-accuracy.json`) gives its tables and figures; `results/paper.md`, `results/mix.md`,
`results/target.md` and the paper's figures follow from those.
"""

from __future__ import annotations

import sys
from itertools import chain

from bench.best_mix import main as write_mix
from bench.paper.figures import draw_paper
from bench.paper.page import main as write_paper
from bench.tables import Study
from bench.target_walk import write_page as write_walks
from sparsemark import paths
from sparsemark.machine.fingerprint import machine_name
from sparsemark.records.run import Run
from sparsemark.study.publish import redraw


def studies() -> list[tuple[str, str]]:
    """Return the machine and the name of every study that has a file, in alphabetical order."""
    timed = {(path.parent.name, path.stem) for path in paths.RESULTS.glob("*/*.json") if path.parent.name != "tables"}
    found = set(timed)
    for path in paths.RESULTS.glob("tables/*-accuracy.json"):
        name = path.stem.removesuffix("-accuracy")
        if not any(study == name for _, study in timed):
            found.add((machine_name(Run.load(path).machine_info), name))
    return sorted(found)


def main() -> int:
    """Write everything anew, and name each file."""
    of_studies = (redraw(machine, name) for machine, name in studies())
    for path in chain(chain.from_iterable(of_studies), draw_paper(Study())):
        sys.stdout.write(f"wrote {path}\n")
    write_walks()
    return write_mix() or write_paper()


if __name__ == "__main__":
    sys.exit(main())
