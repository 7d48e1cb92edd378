"""The paper beside this study: its numbers next to ours, and a verdict on each of its claims.

    python -m bench.paper

Reads the tables of `bench/paper.toml` and the result files under `results/`, and writes `results/paper.md`. Nothing is
trained or measured: whatever a table does not hold yet is said to be missing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.paper.answers import COLUMNS, NOTE, answer_rows, untimed
from bench.paper.architectures import DRAWN
from bench.paper.claims import CLAIMS
from bench.paper.figures import FIGURES, FOLDER
from bench.paper.numbers import TABLES
from bench.paper.times import TIMES, runs
from bench.paper.verdicts import counted
from bench.paper.words import CAPTIONS, DISTURBED, FIGURE_10, GLOSSARY, HEAD, LEDGER, MARGINS, NOTES
from bench.tables import Study
from sparsemark import paths
from sparsemark.files import write_atomically
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report.renderers.markdown import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.paper.verdicts import Claim, Verdict

_LOST = "Figures 1 to 11 here are ours: our copy of the paper has lost its pictures, and only their captions are left."


def document(study: Study) -> str:
    """Return the whole page as Markdown."""
    verdicts = [(claim, claim.judge(study)) for claim in CLAIMS]
    rows = [(claim.number, claim.text, f"**{verdict.word}**", f"{verdict.why}.") for claim, verdict in verdicts]
    answers = answer_rows(study)
    parts = [
        *HEAD,
        counted(verdict for _, verdict in verdicts),
        "## Its claims",
        LEDGER,
        markdown_table(("", "claim", "verdict", "why"), rows),
        "### Margins",
        markdown_table(*MARGINS),
        NOTES,
        "### Evidence",
        "\n".join(_evidence(verdicts)),
        "### Runs that were timed",
        markdown_table(*runs(study)),
        DISTURBED,
        "## Its numbers",
    ]
    for table in (*TABLES, *TIMES):
        columns, numbers = table.rows(study)
        parts += [f"### {table.title}", markdown_table(columns, numbers), table.note]
    parts += [
        "## Its figures",
        _LOST,
        *_figures(study),
        "## More than the paper asked: how fast can it get?",
        markdown_table(COLUMNS, answers) if answers else "",
        untimed(answers),
        NOTE,
        "## Words",
        markdown_table(("word", "meaning"), GLOSSARY),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _evidence(verdicts: Iterable[tuple[Claim, Verdict]]) -> Iterator[str]:
    for claim, verdict in verdicts:
        if verdict.evidence:
            beyond = f" *More than the paper asked:* {verdict.beyond}." if verdict.beyond else ""
            yield f"- **{claim.number}** {verdict.evidence}.{beyond}"


def _figures(study: Study) -> Iterator[str]:
    """Yield each figure with what it is, in the paper's order, figure 10 from the newest timed run."""
    files = {name: f"figures/{FOLDER}/{name}.png" for name in (*FIGURES, *DRAWN.values())}
    if study.run is not None:
        folder = f"{study.timed_by}-{machine_name(study.run.machine_info)}"
        files[FIGURE_10] = f"figures/{folder}/speedup-sparsity-{study.timed_by}.png"
    for name, words in CAPTIONS.items():
        yield words
        if name in files:
            yield f"![{name}]({files[name]})"


def main() -> int:
    """Write the page."""
    path = paths.RESULTS / "paper.md"
    write_atomically(path, document(Study()).encode())
    sys.stdout.write(f"wrote {path}\n")
    return 0
