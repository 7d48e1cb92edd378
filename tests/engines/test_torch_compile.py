"""torch-compile compiles when it is loaded, once a network, and says what it cannot compile."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.utils
import torch._inductor.config

from sparsemark.engines import torch_compile
from sparsemark.errors import UnsupportedError
from sparsemark.measurement import parity
from tests.engines.installed import needs
from tests.engines.sources import dense_source
from tests.small_networks import artifact, batches, reference


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@needs("torch-compile")
def test_torch_compile_compiles_when_loaded_and_never_again():
    before = graphs()
    predict = torch_compile.load(artifact("mlp", "none", "dense").path, 1)
    assert graphs() == before + 1
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            parity.check(predict, batches("mlp"), reference("mlp", "none"))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert graphs() == before + 1


def test_torch_compile_gives_every_network_a_code_of_its_own():
    """Or the ninth network of a class would find the compiler's places for it taken."""
    made = [torch_compile._own_function(torch.nn.Identity()) for _ in range(2)]
    assert made[0].__code__ is not made[1].__code__
    assert made[0](3) == 3


def test_torch_compile_without_a_compiler_is_one_line(tmp_path):
    path = dense_source(tmp_path, "return torch.softmax(y, 1)").path
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}),
        pytest.raises(UnsupportedError, match=r"torch\.compile: .*No working C\+\+ compiler found") as caught,
    ):
        torch_compile.load(path, 1)
    assert "\n" not in str(caught.value)


def test_torch_compile_refuses_a_network_that_is_no_one_graph(tmp_path):
    path = dense_source(tmp_path, "return y * 2 if float(y.sum()) > 0 else y").path
    with pytest.raises(UnsupportedError, match=r"torch\.compile: .*data-dependent") as caught:
        torch_compile.load(path, 1)
    assert "\n" not in str(caught.value)
