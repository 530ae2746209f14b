"""The demo's task, and the demo without what it needs."""

import json
import re
import sys

import numpy as np
import pytest
from conftest import Run

from edgecomp import demo


def test_training_and_held_out_digits_do_not_overlap() -> None:
    (images, answers), (held_out, labels) = demo.digits()
    assert (images.shape, answers.shape) == ((1297, 1, 8, 8), (1297,))
    assert (held_out.shape, labels.shape) == ((500, 1, 8, 8), (500,))
    assert (images.min(), images.max()) == (0, 1)
    everything = np.concatenate([images, held_out]).reshape(1797, -1)
    assert len(np.unique(everything, axis=0)) == 1797


def test_without_scikit_learn_it_says_what_to_install(edgecomp: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    result = edgecomp("demo")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert 'pip install "edgecomp[examples]"' in result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_it_shows_that_the_artifacts_agree(as_json: bool, edgecomp: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EPOCHS", 3)
    monkeypatch.setattr("edgecomp.cli.demo._RUNS", 20)
    monkeypatch.setenv("COLUMNS", "80")
    result = edgecomp("demo", *(["--json"] if as_json else []))
    assert result.exit_code == 0, result.stderr
    if as_json:
        document = json.loads(result.stdout)
        assert document["verification"]["metrics"]["accuracy"] > 0.8
        assert set(document["latency_ms"]) == {"original", "model.tflite", "model.onnx", "model.mnn"}
        assert all(latency > 0 for latency in document["latency_ms"].values())
        return
    assert max(map(len, result.stdout.splitlines()[:9])) <= 80
    for name in ("original", "simulation", r"model\.tflite", r"model\.onnx", r"model\.mnn"):
        assert re.search(rf"^{name} .*\d", result.stdout, re.MULTILINE)
    assert "not a raspberry-pi-4b" in result.stdout
