"""The example server, as a user starts it: answers of the dense network, and errors."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import sparsemark
from sparsemark.measurement.parity import TOLERANCE
from tests.small_networks import artifact, images, reference

PACKAGE = Path(sparsemark.__file__).parent
MOST_LINES = 40


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Address of a server of a dense CSR file, copied out of the package as `sparsemark init` copies it."""
    program = tmp_path_factory.mktemp("server") / "serve.py"
    program.write_text((PACKAGE / "starter" / "serve.py").read_text())
    command = [sys.executable, program, artifact("plain", "none", "csr").path, "0"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        line = server.stderr.readline()
        found = re.search(r"http://localhost:\d+", line)
        if found:
            yield found[0]
        server.kill()
        assert found, line + server.stderr.read()


def post(address, body):
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as answer:
        return [*np.load(io.BytesIO(answer.read())).values()]


def saved(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def test_example_is_short():
    assert len((PACKAGE / "starter" / "serve.py").read_text().splitlines()) < MOST_LINES


def test_answers_are_those_of_the_dense_network(address):
    wanted = reference("plain", "none")
    bodies = [saved(images("plain")[index]) for index in wanted.chosen]
    with ThreadPoolExecutor(2) as pool:  # side by side, as clients come
        answers = list(pool.map(post, [address] * len(bodies), bodies))
    for position, outputs in enumerate(answers):
        for got, expected in zip(outputs, wanted.outputs, strict=True):
            np.testing.assert_allclose(
                got, expected[position : position + 1], rtol=0, atol=TOLERANCE * np.abs(expected).max()
            )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (saved(np.zeros((3, 16, 12), np.float32)), "input has shape (3, 16, 12), expected (N, 3, 16, 12)"),
        (saved(np.zeros((1, 3, 16, 12))), "input has dtype float64, expected float32"),
        (b"no array", "pickled"),
        (b"", "No data left"),
    ],
)
def test_what_the_network_cannot_take_is_a_400_with_the_reason(address, body, message):
    with pytest.raises(urllib.error.HTTPError) as error:
        post(address, body)
    assert error.value.code == 400
    assert message in error.value.read().decode()
    assert post(address, saved(images("plain")[0]))  # and the server goes on
