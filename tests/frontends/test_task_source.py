"""Task files and modules, and everything that can be wrong with them."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from edgecomp.data import collect_calibration, collect_evaluation
from edgecomp.errors import DataError, InputError, SourceError
from edgecomp.frontends import load_source
from edgecomp.frontends.pictures import Preprocessing

TASK = """
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

def example_inputs():
    return (torch.rand(2, 3, 4),)
"""

FULL = (
    TASK
    + """
def calibration_data():
    for _ in range(3):
        yield (torch.rand(3, 3, 4),)

def train_data():
    yield (torch.rand(3, 3, 4),), torch.tensor([0, 1, 2])

evaluation_data = train_data

def loss(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels)

def metric(outputs, labels):
    return (outputs.argmax(1) == labels).float().mean()

def labels():
    return ["cat", "dog", "bird"]

def preprocessing():
    return "resize=36,crop=32,mean=0.5,std=0.25"

def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False))
"""
)


@pytest.fixture
def write(tmp_path):
    def write_task(text, name="task.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write_task


def score(source, outputs, labels):
    """The first metric of one batch."""
    return source.metrics.first(source.metrics.measure([(outputs, labels)]))


def test_metrics_by_name_and_by_function(write):
    own = "\ndef hits(outputs, labels):\n    return (outputs.argmax(1) == labels).sum()\n"
    source = load_source(write(TASK + own + "metric = ['Top-2', hits, 'accuracy']\n"))
    assert source.metrics.names == ("top-2 accuracy", "hits", "accuracy")
    found = source.metrics.measure([([np.float32([[0, 1, 2], [2, 1, 0]])], np.array([1, 0]))])
    assert found == {"top-2 accuracy": 1.0, "hits": 1.0, "accuracy": 0.5}
    assert load_source(write(TASK + "\nmetric = 'mae'\n")).metrics.names == ("mae",)


@pytest.mark.parametrize(
    ("metric", "actual", "cure"),
    [
        ("3", "a int", 'write metric = "accuracy", metric = ["accuracy", "f1"], or def metric(outputs, labels):'),
        ("[]", "a list of nothing", 'write metric = "accuracy", metric = ["accuracy", "f1"], or def metric('),
        ("'acuracy'", "'acuracy'", "write accuracy"),
        ("'bleu'", "'bleu'", "choose one of them, or write metric(outputs, labels) in a task file"),
        ("('f1', 'F1')", "f1 twice", "leave one of them out"),
    ],
)
def test_a_metric_that_there_is_not(write, metric, actual, cure):
    path = write(f"{TASK}\nmetric = {metric}\n")
    with pytest.raises(InputError) as caught:
        load_source(path)
    assert caught.value.subject == f"{path}: metric"
    assert caught.value.actual == actual
    assert caught.value.cure.startswith(cure)


def test_minimal_task(write):
    source = load_source(write(TASK, "digits.py"))
    assert source.name == "digits"
    assert [(spec.name, spec.shape) for spec in source.input_specs] == [("input", (2, 3, 4))]
    assert source.calibration_data is None
    assert source.metrics is None
    assert len(source.step.facts["task_sha256"]) == 64
    assert source.reference(source.inputs)[0].shape == (2, 3)


def test_all_functions(write):
    source = load_source(str(write(FULL)))
    calibration = collect_calibration(source.calibration_data(), source.input_specs, subject="task.py")
    assert (calibration.samples, len(calibration)) == (9, 4)
    evaluation = collect_evaluation(source.evaluation_data(), source.input_specs, subject="task.py")
    batches = (([out[: len(y)] for out in source.reference(x)], y) for x, y in evaluation)
    assert 0 <= source.metrics.measure(batches)["metric"] <= 1
    assert score(source, [np.eye(3, dtype=np.float32)], np.array([0, 1, 0])) == pytest.approx(2 / 3)
    assert source.labels == ("cat", "dog", "bird")
    assert source.preprocessing == Preprocessing(resize=36, crop=32, mean=(0.5,), std=(0.25,))
    assert next(iter(source.train_data()))[1].tolist() == [0, 1, 2]
    assert source.loss(source.module(next(iter(source.train_data()))[0][0]), next(iter(source.train_data()))[1]) > 0


def test_metric_sees_the_structure_of_the_module(write):
    source = load_source(
        write(
            """
            import torch
            from torch import nn
            class Two(nn.Module):
                def forward(self, x):
                    return {"score": x * 2, "aux": (x, None)}
            def model():
                return Two()
            def example_inputs():
                return torch.rand(1, 3)
            def metric(outputs, labels):
                assert outputs["aux"][1] is None
                return (outputs["score"].argmax(1) == labels).sum()
            """
        )
    )
    assert score(source, source.reference((np.array([[0, 1, 0]], np.float32),)), np.array([1])) == 1.0


def test_another_factory_of_a_file(write):
    source = load_source(f"{write(FULL)}:small")
    assert source.name == "small"
    assert len(source.graph.graph.initializers) == 1
    assert source.labels == ("cat", "dog", "bird")


def test_module_on_the_path(write, monkeypatch, tmp_path):
    write(FULL, "edgecomp_test_net.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_source("edgecomp_test_net:small").name == "small"


def test_task_imports_what_lies_beside_it(write, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    write("SIZE = 12", "edgecomp_test_beside.py")
    task = write(
        TASK.replace("12", "SIZE").replace("import torch", "import torch\nfrom edgecomp_test_beside import SIZE", 1)
    )
    assert load_source(task).input_specs[0].shape == (2, 3, 4)


def test_two_files_of_one_name(tmp_path):
    for folder, size in (("a", 3), ("b", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "task.py").write_text(TASK.replace("12, 3", f"12, {size}"))
    sizes = [load_source(tmp_path / folder / "task.py").graph.graph.outputs[0].shape[1] for folder in "ab"]
    assert sizes == [3, 5]


def replaced(old, new):
    return TASK.replace(old, new)


@pytest.mark.parametrize(
    ("text", "subject", "actual", "cure"),
    [
        ("import torch", "", "no functions", "add model()"),
        (replaced("def model", "def net"), "", "only example_inputs, net", "add model()"),
        (replaced("def example_inputs", "def inputs"), "", "only inputs, model", "add example_inputs()"),
        ("def model(:", "", "SyntaxError: invalid syntax", "make `python "),
        (
            "import not_there_at_all",
            "",
            "ModuleNotFoundError: No module named 'not_there_at_all' (",
            "install what has the module",
        ),
        ("raise SystemExit(3)", "", "SystemExit: 3 (", "make `python "),
        (
            replaced("return nn", "raise OSError('no weights')\n    return nn"),
            ": model()",
            "OSError: no weights (",
            "work",
        ),
        (replaced("return (torch", "return (1 / 0, torch"), ": example_inputs()", "ZeroDivisionError", "work"),
        (
            replaced("nn.Linear(12, 3))", "nn.Linear(12, 3)).state_dict()"),
            ": model()",
            "perhaps its state dict",
            "load",
        ),
        (replaced("return nn.Seq", "return lambda x: x, nn.Seq"), ": model()", "a tuple", "build the module"),
        ("model = 3", ": model", "a int", "def model():"),
        (TASK + "\ndef labels():\n    return 'cat'", ": labels()", "a str", '["cat", "dog"]'),
        (TASK + "\nlabels = ['cat']", ": labels", "a list", "def labels():"),
    ],
)
def test_unusable_task(write, text, subject, actual, cure):
    path = write(text)
    with pytest.raises(SourceError) as caught:
        load_source(path)
    error = caught.value
    assert error.exit_code == 2
    assert error.subject == f"{path}{subject}"
    assert actual in error.actual
    assert cure in error.cure


def test_error_names_the_users_line(write):
    path = write(replaced("return nn", "raise OSError('no weights')\n    return nn"))
    with pytest.raises(SourceError) as caught:
        load_source(path)
    assert caught.value.actual == f"OSError: no weights ({path}:6)"


@pytest.mark.parametrize(
    ("value", "key"), [("'size=3'", "preprocessing()"), ("3", "preprocessing()"), ("{'crop': -1}", "crop")]
)
def test_unusable_preprocessing(write, value, key):
    with pytest.raises(InputError) as caught:
        load_source(write(TASK + f"\ndef preprocessing():\n    return {value}"))
    assert key in caught.value.subject
    assert caught.value.exit_code == 2


def test_metric_that_gives_no_number(write):
    source = load_source(write(TASK + "\ndef metric(outputs, labels):\n    return outputs"))
    with pytest.raises(SourceError, match="one number"):
        score(source, [np.zeros((2, 3), np.float32)], np.zeros(2))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_metric_that_is_not_finite(write, value):
    source = load_source(write(TASK + f"\ndef metric(outputs, labels):\n    return float('{value}')"))
    with pytest.raises(DataError) as caught:
        score(source, [np.zeros((2, 3), np.float32)], np.zeros(2))
    assert caught.value.actual == f"{value} for 2 labels"
    assert "finite number, larger for better outputs" in caught.value.cure


def test_metric_that_raises(write):
    path = write(TASK + "\ndef metric(outputs, labels):\n    return 1 / 0")
    with pytest.raises(SourceError) as caught:
        score(load_source(path), [np.zeros((2, 3), np.float32)], np.zeros(2))
    assert caught.value.actual.startswith(f"ZeroDivisionError: division by zero ({path}:")


@pytest.mark.parametrize(
    ("source", "cure"),
    [
        ("{path}:modle", "write model"),
        ("{path}:something", "add something(), or name another"),
        ("no_such_module_at_all:model", "check the name; modules are looked for in this folder too"),
    ],
)
def test_a_name_that_is_not_there_has_a_cure(write, source, cure):
    with pytest.raises(SourceError) as caught:
        load_source(source.format(path=write(TASK)))
    assert caught.value.cure == cure


def test_a_function_whose_name_is_nearly_right_is_named(write):
    misspelt = TASK + "\ndef metrics(outputs, labels):\n    return 1.0\n\ndef helper(x):\n    return x\n"
    (note,) = load_source(write(misspelt)).notes
    assert note.endswith("task.py has a function metrics(), which nothing calls; what edgecomp looks for is metric().")
    assert load_source(write(misspelt + "\ndef metric(outputs, labels):\n    return 1.0\n")).notes == ()


def test_data_function_that_raises(write):
    source = load_source(write(TASK + "\ndef calibration_data():\n    yield 1\n    raise OSError('disk')"))
    with pytest.raises(DataError) as caught:
        list(source.calibration_data())
    assert caught.value.subject.endswith("task.py: calibration_data()")
    assert "OSError: disk" in caught.value.actual


def test_nothing_of_the_data_is_read_early(write):
    load_source(write(TASK + "\ndef calibration_data():\n    raise OSError('read')\n    yield"))


@pytest.mark.parametrize(
    ("source", "actual"),
    [
        ("missing.py", "no such file"),
        ("missing.onnx", "no such file"),
        ("missing.pt2", "no such file"),
        ("missing", "no such file"),
        ("no_such_module_at_all:model", "ModuleNotFoundError"),
        ("{folder}", "a folder"),
        ("{folder}/notes.txt", "a file with the suffix '.txt'"),
        ("{folder}/folder.onnx", "a folder"),
    ],
)
def test_sources_that_are_not_there(source, actual, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.onnx").mkdir()
    text = source.format(folder=tmp_path)
    with pytest.raises(SourceError) as caught:
        load_source(text)
    assert caught.value.exit_code == 2
    assert caught.value.subject == text
    assert actual in caught.value.actual


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl", ".ckpt"])
def test_pickles_are_never_read(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    # A pickle that would print: it has to stay silent.
    path.write_bytes(b"cbuiltins\nprint\n(S'executed'\ntR.")
    with pytest.raises(SourceError) as caught:
        load_source(path)
    assert caught.value.exit_code == 2
    assert "a pickle" in caught.value.actual
    assert "weights_only=True" in caught.value.cure


def test_example_inputs_go_with_modules_only(write):
    with pytest.raises(SourceError, match="a file brings its own"):
        load_source(write(TASK), example_inputs=(1,))


def test_importing_the_frontends_loads_no_torch():
    code = "import sys, edgecomp.frontends, edgecomp.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("text", ["import no_such_package.part", "def model():\n    import no_such_package"])
def test_a_package_that_is_not_installed_is_named(write, text):
    with pytest.raises(SourceError) as error:
        load_source(write(text + "\n\ndef example_inputs():\n    return ()\n"))
    assert "pip install no_such_package)" in error.value.cure
