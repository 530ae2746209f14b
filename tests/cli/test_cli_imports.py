"""Commands that look at a result start at once: they load no graph library, which takes longer than all they do."""

import json
import subprocess
import sys

import pytest
from conftest import Made

#: onnx_ir loads sympy, and onnxscript the reference implementation of every operator.
SLOW = {"onnx", "onnx_ir", "onnxruntime", "onnxscript", "sympy", "torch"}
#: For commands that read no numbers.
HEAVY = {*SLOW, "ai_edge_litert", "MNN", "numpy"}

COMMANDS = {
    "--help": HEAVY,
    "--version": HEAVY,
    "targets": HEAVY,
    "targets pixel-8": HEAVY,
    "convert --help": HEAVY,
    "inspect {folder}/model.tflite": SLOW,
    "inspect {folder}/model.mnn": SLOW,
    "verify {folder}": SLOW,
}

CODE = """
import json, sys
from edgecomp.cli import main
try:
    main()
except SystemExit as error:
    assert not error.code, error.code
sys.stderr.write("\\n" + json.dumps([name for name in sys.modules if "." not in name]))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_what_it_needs(command: str, made: Made) -> None:
    words = command.format(folder=made.folder).split()
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not COMMANDS[command] & set(json.loads(done.stderr.splitlines()[-1]))
