"""Exported programs, and archives that must not be opened."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp.errors import SourceError
from edgecomp.frontends import load_source


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, image):
        return {"features": torch.relu(self.body(image))}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    exported = torch.export.export(
        Net().eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes={"image": {0: torch.export.Dim("n")}}
    )
    torch.export.save(exported, path)
    return path


def rewritten(program, folder, change):
    """A copy of the archive in which every entry became what `change(name, data)` says."""
    path = folder / "changed.pt2"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def test_program(program):
    source = load_source(program, shapes={"image": (1, 3, 8, 8)})  # it was exported with (2, 3, 8, 8)
    assert source.name == "net"
    assert [(s.name, s.shape) for s in source.input_specs] == [("image", (1, 3, 8, 8))]
    assert [(v.name, tuple(v.shape)) for v in source.graph.graph.outputs] == [("features", (1, 4, 6, 6))]
    modules = {node.op_type: node.metadata_props["edgecomp.module"] for node in source.graph.graph}
    assert modules == {"Conv": "body.0", "Relu": ""}
    assert source.step.facts["exporter"] == "torch.export"
    assert source.reference(source.inputs)[0].shape == (1, 4, 6, 6)


def test_shape_of_an_input_that_there_is_not(program):
    with pytest.raises(SourceError, match="no input is called 'x'"):
        load_source(program, shapes={"x": (1, 3, 8, 8)})


def test_damaged_archives(program, tmp_path):
    content = program.read_bytes()
    for name, data in (("cut.pt2", content[: len(content) // 2]), ("noise.pt2", b"\x00\x01" * 99), ("empty.pt2", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"torch\.export\.save wrote") as caught:
            load_source(path)
        assert caught.value.exit_code == 2
        assert "save it again" in caught.value.cure


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["EDGECOMP_TEST_BOMB"],)


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """A pickle that makes a folder, and the folder that must not appear."""
    folder = tmp_path / "exploded"
    monkeypatch.setenv("EDGECOMP_TEST_BOMB", str(folder))
    yield pickle.dumps(Bomb())
    assert not folder.exists()


def test_pickled_weight_is_refused(program, tmp_path, bomb):
    def change(name, data):
        if name.endswith("weights_config.json"):
            config = json.loads(data)
            config["config"]["body.0.weight"]["use_pickle"] = True
            return json.dumps(config)
        return bomb if name.endswith("weight_0") else data

    with pytest.raises(SourceError) as caught:
        load_source(rewritten(program, tmp_path, change))
    assert caught.value.exit_code == 2
    assert caught.value.actual == "a pickle for 'body.0.weight'"
    assert "task.py" in caught.value.cure


def test_pickled_example_inputs_are_not_run(program, tmp_path, bomb):
    path = rewritten(program, tmp_path, lambda name, data: bomb if "sample_inputs" in name else data)
    with pytest.raises(SourceError, match=r"torch\.export\.save wrote"):
        load_source(path)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    "entry", ["data/aotinductor/model/a.so", "data/constants/custom_obj_0", "data/weights/model.pt"]
)
def test_other_entries_are_refused(entry, program, tmp_path):
    path = rewritten(program, tmp_path, lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"net/{entry}", b"")
    with pytest.raises(SourceError, match="nothing that is code") as caught:
        load_source(path)
    assert entry in caught.value.actual


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').abort()", "exit()", "Max(s0, s1).__class__", "Symbol('s0;abort')", "1" * 5000 + "!"],
)
def test_shape_expressions_with_code_are_refused(expression, program, tmp_path):
    def change(name, data):
        if name.endswith("models/model.json"):
            content = json.loads(data)
            content["edgecomp_test"] = [{"expr_str": expression}]
            return json.dumps(content)
        return data

    with pytest.raises(SourceError, match="a shape expression"):
        load_source(rewritten(program, tmp_path, change))


def test_bad_weight_is_named(tmp_path):
    net = Net().eval()
    with torch.no_grad():
        net.body[0].bias[1] = np.nan
    path = tmp_path / "nan.pt2"
    torch.export.save(torch.export.export(net, (torch.rand(1, 3, 8, 8),)), path)
    with pytest.raises(SourceError, match="NaN or infinite") as caught:
        load_source(path)
    assert caught.value.subject == f"{path}: parameter 'body.0.bias'"
