"""Ratios of single layers: scaled to the sparsity that is asked, checked against the network, read from a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsemark.errors import UserError
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.coupling import free_layers
from sparsemark.pruning.ratios import Ratios, load_ratios, write_ratios
from sparsemark.pruning.weights import named_layers, prunable
from sparsemark.specs import PruneStep, removes_channels
from tests.pruning.pruned import learnt_from, parameters
from tests.small_networks import build, example

RATIO = st.floats(0.01, 0.99)


@given(st.lists(st.tuples(st.integers(1, 10_000), RATIO), min_size=1, max_size=8), st.floats(0, 0.999))
@settings(max_examples=100, deadline=None)
def test_scaled_ratios_reach_the_sparsity_and_keep_their_order(layers, sparsity):
    sizes = {str(index): size for index, (size, _) in enumerate(layers)}
    given_ratios = {str(index): ratio for index, (_, ratio) in enumerate(layers)}
    found = Ratios(given_ratios).scaled(sizes, sparsity)
    reached = sum(size * found[name] for name, size in sizes.items()) / sum(sizes.values())
    assert reached == pytest.approx(sparsity, abs=1e-9)
    assert all(0 <= ratio <= 1 for ratio in found.values())
    for one in sizes:
        for other in sizes:
            assert given_ratios[one] >= given_ratios[other] or found[one] <= found[other] + 1e-12


def test_what_is_left_is_raised_to_a_common_power():
    """Of 0.9 and 0.81 left, both squared: 0.19 and 0.3439 go, on average 0.26695."""
    found = Ratios({"a": 0.1, "b": 0.19}).scaled({"a": 50, "b": 50}, 0.26695)
    assert found == pytest.approx({"a": 0.19, "b": 0.3439})


def test_a_layer_of_ratio_0_or_of_no_ratio_stays_whole():
    assert Ratios({"a": 0.5, "b": 0.0}).scaled({"a": 50, "b": 25, "c": 25}, 0.4) == pytest.approx(
        {"a": 0.8, "b": 0.0, "c": 0.0}
    )
    with pytest.raises(
        UserError, match=r"^r.json: lets at most 50% of the weights go, so a sparsity of 0.6 cannot be reached$"
    ):
        Ratios({"a": 0.5, "b": 0.0}, where="r.json").scaled({"a": 50, "b": 50}, 0.6)


def test_exact_ratios_are_taken_as_they_are():
    assert Ratios({"a": 0.5}, exact=True).scaled({"a": 3, "b": 5}, 0.9) == {"a": 0.5, "b": 0.0}


SCORED = [name for name, one in PRUNERS.items() if one.takes_ratios and not removes_channels(name)]


@pytest.mark.parametrize("method", SCORED)
def test_every_mask_takes_ratios(method):
    module = build("mlp")
    ratios = Ratios({"0.weight": 0.75, "2.weight": 0.5}, exact=True)
    prune(module, Request(PruneStep(method, 0.1), (example("mlp"),), data=learnt_from(example("mlp")), ratios=ratios))
    assert [float((layer.weight == 0).float().mean()) for _, layer in named_layers(module)] == [0.75, 0.5, 0.0]


def test_ratios_are_scaled_to_what_the_step_asks():
    module = build("plain")
    names = [weight.key for weight in prunable(module, (example("plain"),))]
    ratios = Ratios(dict(zip(names, (0.1, 0.5, 0.9, 0.0), strict=True)))
    masks = prune(module, Request(PruneStep("magnitude", 0.6), (example("plain"),), ratios=ratios)).masks
    gone = [1 - float(masks[name].float().mean()) for name in names]
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == pytest.approx(0.6 * total, abs=2)
    assert gone[0] < gone[1] < gone[2]
    assert gone[3] == 0


def test_weights_without_a_ratio_are_named():
    ratios = Ratios({"0.weight": 0.5, "4.weight": 0.5}, where="r.json")
    found = prune(build("mlp"), Request(PruneStep("magnitude", 0.2), (example("mlp"),), ratios=ratios))
    assert found.notes == ("r.json has no ratio for 2: nothing goes there",)
    assert found.masks["2.weight"].all()


def test_channels_go_by_ratios_until_the_share_is_reached():
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2))

    module, before = network(), parameters(network())
    ratios = Ratios({"0.weight": 0.2, "2.weight": 0.9})
    prune(module, Request(PruneStep("channels", 0.5), (example("mlp"),), ratios=ratios))
    assert 1 - parameters(module) / before == pytest.approx(0.5, abs=0.02)
    assert module[2].out_features < 60
    assert module[0].out_features > 80


@pytest.mark.parametrize("method", ["channels", "channels-taylor"])
def test_exact_channels_of_coupled_layers_go_together_and_no_others(method):
    module = build("residual")
    groups = free_layers(build("residual"), (example("residual"),))
    assert sorted(map(sorted, groups)) == [["first.0.0"], ["first.1.0", "second.0", "shortcut.0"], ["stem.0"]]
    coupled = next(group for group in groups if len(group) == 3)
    ratios = Ratios({f"{name}.weight": 0.5 for name in coupled}, exact=True)
    data = learnt_from(example("residual"))
    prune(module, Request(PruneStep(method, 0.5), (example("residual"),), data=data, ratios=ratios))
    widths = {name: layer.out_channels for name, layer in named_layers(module) if isinstance(layer, nn.Conv2d)}
    assert widths == {"stem.0": 6, "first.0.0": 8, "first.1.0": 4, "shortcut.0": 4, "second.0": 4}


def separable():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1),
        nn.ReLU(), nn.Conv2d(16, 2, 1),
    )  # fmt: skip


def widths_of(module):
    return [layer.out_channels for _, layer in named_layers(module)]


IMAGE = torch.ones(1, 3, 8, 8)


def test_of_coupled_layers_the_smallest_ratio_counts():
    for by_name in ({"0.weight": 0.75, "2.weight": 0.25}, {"0.weight": 0.25, "2.weight": 0.75}):
        module = separable()
        ratios = Ratios(by_name, exact=True)
        prune(module, Request(PruneStep("channels", 0.5), (IMAGE,), ratios=ratios))
        assert widths_of(module) == [12, 12, 16, 2], by_name


def test_a_coupled_layer_that_is_not_named_goes_with_the_one_that_is_and_others_are_noted():
    module = separable()
    found = prune(
        module, Request(PruneStep("channels", 0.3), (IMAGE,), ratios=Ratios({"0.weight": 0.5}, where="r.json"))
    )
    assert widths_of(module)[0] == widths_of(module)[1] < 16
    assert widths_of(module)[2] == 16
    assert found.notes == ("r.json has no ratio for 4: nothing goes there",)


@pytest.mark.parametrize(
    "by_name", [{"4.weight": 0.5}, {"0.weight": 0.0, "4.weight": 0.5}, {"0.weight": 0.0}, {"6.weight": 0.5}]
)
def test_a_share_that_channels_cannot_reach_is_one_line_as_with_masks(by_name):
    most = {"4.weight": r"[2-4]\d%"}.get(max(by_name), "0%")
    with pytest.raises(
        UserError, match=rf"^r.json: lets at most {most} of the parameters go, so a sparsity of 0.9 cannot be"
    ):
        prune(separable(), Request(PruneStep("channels", 0.9), (IMAGE,), ratios=Ratios(by_name, where="r.json")))


@pytest.mark.parametrize(("width", "low", "sparsity", "near"), [(200, 0.01, 0.8, 0.01), (8, 0.001, 0.3, 0.03)])
def test_channels_reach_the_share_though_one_ratio_is_far_below_the_other(width, low, sparsity, near):
    module = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 8))
    before = parameters(module)
    ratios = Ratios({"0.weight": 0.9, "2.weight": low})
    prune(module, Request(PruneStep("channels", sparsity), (example("mlp"),), ratios=ratios))
    assert 1 - parameters(module) / before == pytest.approx(sparsity, abs=near)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.9])
def test_an_exact_files_fractions_are_taken_whatever_the_share(sparsity, tmp_path):
    module = separable()
    shapes = {name: tuple(one.shape) for name, one in module.named_parameters()}
    write_ratios(
        tmp_path / "r.json", {"0.weight": 0.5000000000000001, "2.weight": 0.6, "4.weight": 0.0}, shapes, exact=True
    )
    ratios = load_ratios(tmp_path / "r.json")
    assert ratios.exact
    prune(module, Request(PruneStep("channels", sparsity), (IMAGE,), ratios=ratios))
    assert widths_of(module) == [8, 8, 16, 2]
    masked = separable()
    prune(masked, Request(PruneStep("magnitude", sparsity), (IMAGE,), ratios=ratios))
    assert [float((layer.weight == 0).float().mean()) for _, layer in named_layers(masked)] == pytest.approx(
        [0.5, 0.6, 0, 0], abs=0.004
    )


@pytest.mark.parametrize("more", [True, False])
def test_an_exact_fraction_of_a_layer_that_the_method_cannot_score_removes_nothing_and_says_so(more):
    module = build("plain")
    request = Request(
        PruneStep("channels-bn", 0.5), (example("plain"),), more=more, ratios=Ratios({"7.weight": 0.5}, exact=True)
    )
    found = prune(module, request)
    assert found.plan == ()
    assert found.notes == ("channels-bn: nothing to score by, so all channels stay in 7",)


def write(path, *layers, **document):
    path.write_text(json.dumps({"layers": list(layers), **document}))
    return path


def layer(ratio=0.5, **shapes):
    return {"parameters": {name.replace("_", "."): shape for name, shape in shapes.items()}, "ratio": ratio}


def test_file_is_read_and_belongs_to_one_network(tmp_path):
    path = write(tmp_path / "r.json", layer(0.3, **{"0_weight": [16, 12]}), layer(0.6, **{"2_weight": [16, 16]}))
    ratios = load_ratios(path)
    assert ratios.by_name == {"0.weight": 0.3, "2.weight": 0.6}
    ratios.check(build("mlp"))
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))}: made for another network: 0.weight has shape"):
        ratios.check(build("plain"))
    other = write(tmp_path / "s.json", layer(0.3, **{"0_weight": [16, 13]}))
    with pytest.raises(UserError, match=r"0.weight has shape \(16, 13\), this one has \(16, 12\) there"):
        load_ratios(other).check(build("mlp"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "expected"),
        ('{"layers": []}', "layers: [], expected at least one"),
        ('{"layers": [{"parameters": {"a": [2]}}]}', "layers[0].ratio: missing, expected a number"),
        ('{"layers": [{"parameters": {"a": [2]}, "ratio": 1}]}', "layers[0].ratio: 1, expected a fraction in [0, 1)"),
        ('{"layers": [{"parameters": {"a": [2]}, "ratio": NaN}]}', "layers[0].ratio: nan, expected a fraction"),
        ('{"layers": [{"parameters": {"a": ["x"]}, "ratio": 0.5}]}', "layers[0].parameters"),
        (json.dumps({"layers": [layer(a=[2]), layer(a=[2])]}), "layers[1].parameters: a is there twice"),
        (json.dumps({"layers": [layer(1e-323, a=[2])]}), "layers[0].ratio: 9.88131e-324, expected 0 or at least 1e-06"),
        (" " * (16 * 2**20 + 1), "expected a file of ratios, of at most 16 MB"),
    ],
)
def test_file_that_is_none_is_one_line_with_its_name_and_field(content, words, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        load_ratios(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_not_there_or_has_no_end_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_ratios(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"^/dev/zero: expected a file of ratios, of at most 16 MB$"):
        load_ratios(Path("/dev/zero"))


def test_the_least_ratio_of_a_file_can_be_scaled_to_nearly_all():
    found = Ratios({"a": 0.5, "b": 1e-6}).scaled({"a": 10, "b": 10, "c": 10}, 0.666)
    assert sum(found.values()) / 3 == pytest.approx(0.666, abs=1e-9)
