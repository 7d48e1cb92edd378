"""Print both tables of `models/README.md`, of the networks and of their trained weights: `python -m models`."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from models import INPUT_SHAPE, NETWORKS
from models.cards import cards
from sparsemark import paths
from sparsemark.references import resolve


def tabulate() -> str:
    """Parameters and multiply-adds of one image for every network, as a Markdown table."""
    lines = ["| network | parameters | multiply-adds, million |", "|---|---:|---:|"]
    for name, reference in NETWORKS.items():
        network: torch.nn.Module = resolve(reference)().eval()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(INPUT_SHAPE))
        # The counter takes a multiply-add for two operations, and counts convolutions and linear layers only.
        lines.append(f"| `{name}` | {parameters:,} | {counter.get_total_flops() / 2e6:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tabulate(), cards(paths.WEIGHTS), sep="\n\n")  # noqa: T201 - a command
