"""Numbers that the READMEs state of the code are the code's, and the first one stays short."""

from __future__ import annotations

from pathlib import Path

from sparsemark.analysis.groups import units_needed
from sparsemark.study.finetune import LEARNING_RATE

ROOT = Path(__file__).parents[1]
MOST_WORDS = 900


def section(title):
    text = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    return " ".join(text.partition(f"\n## {title}\n")[2].partition("\n## ")[0].split())


def test_the_first_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < MOST_WORDS


def test_a_task_says_how_many_images_are_enough_and_how_networks_are_fine_tuned():
    said = section("A task")
    assert f"below {units_needed(0.01)} images, a loss of one point is never excluded" in said
    assert f"below {units_needed(0.02)} none of two points, below {units_needed(0.05)} none of five" in said
    assert LEARNING_RATE == 3e-4
    assert "AdamW from a rate of 3e-4" in said
    for form in ("`images()`, `score(predict)`", "`images(part)`, `score(outputs, part)`"):
        assert form in said


def test_deploying_says_what_a_loaded_network_takes_and_how_it_is_installed():
    said = section("In Python")
    assert "float32, (N, 3, 224, 224), of a CSR file for any N; a tuple of all outputs" in said
    assert "`pip install --no-deps .`, from a clone" in said
