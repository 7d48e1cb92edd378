"""`--html PATH`: what a command found, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from sparsemark.analysis.front import Bar
    from sparsemark.analysis.verdicts import Verdict
    from sparsemark.records.run import Run
    from sparsemark.report.deployment import Deployment


def add_html(parser: argparse.ArgumentParser) -> None:
    """Declare where the page goes."""
    parser.add_argument(
        "--html", type=Path, metavar="PATH", help="write the report there too, as one page that loads nothing"
    )


def check_html(options: argparse.Namespace) -> None:
    """Refuse a path that cannot be written before anything is measured."""
    from sparsemark.files import check_writable

    if options.html is not None:
        check_writable(options.html)


def write_page(path: Path | None, run: Run, bar: Bar | None, deployment: Deployment) -> None:
    """Write the page of a run and name it; nothing where no path was given."""
    from sparsemark.cli.terminal import write
    from sparsemark.files import write_atomically
    from sparsemark.report import render

    if path is not None:
        write_atomically(path, render(run, "html", bar=bar, deployment=deployment).encode())
        write(f"wrote {path}\n")


def write_index(files: Sequence[Path], index: Path, bar: Bar | None) -> None:
    """Write the page of each result file beside `index`, and `index`, which links them.

    Raises:
        UserError: two files would have one page, or one cannot be read or written.
    """
    from sparsemark.analysis.merging import load_run
    from sparsemark.errors import UserError
    from sparsemark.files import write_atomically
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.page import Entry, as_index

    pages: dict[str, Path] = {}
    for file in files:
        name = f"{file.stem}-{file.resolve().parent.name}.html"
        if name in pages or name == index.name:
            raise UserError(f"{file}: {name} is the page of {pages.get(name, index)}, expected files of other names")
        pages[name] = file
    entries = []
    for name, file in pages.items():
        run = load_run(file)
        write_page(index.parent / name, run, bar, Deployment.of_run(run, (file,)))
        entries.append(Entry(name.removesuffix(".html"), name, run))
    write_atomically(index, as_index(entries, bar).encode())


def comparison_page(before: Run, after: Run, verdicts: Sequence[Verdict] = ()) -> str:
    """Return the page of two runs."""
    from sparsemark.analysis.comparison import compare, environment_differences, same_machine
    from sparsemark.report.page import as_comparison_page

    differences, same = environment_differences(before, after), same_machine(before, after)
    return as_comparison_page(compare(before, after), differences, verdicts, same_machine=same)
