"""The C bundle on real ARM code in QEMU: preprocessing and hashes; the model's outputs are what was recorded."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from tools import run

from edgecomp.artifact import load
from edgecomp.bundle.build import Bundle
from edgecomp.bundle.checking import golden_inputs
from edgecomp.processing import Processing

pytestmark = pytest.mark.bundle

MAIN = """
#include "cats.h"
#include <stdio.h>
#include <string.h>

static const unsigned long recorded[] = { %s };

static int give(void *context, const void *const *inputs, void *const *outputs) {
  unsigned i;
  (void)inputs;
  for (i = 0; i < sizeof recorded / sizeof *recorded; i++) {
    unsigned bits = (unsigned)recorded[i] + (context != 0);
    memcpy((char *)outputs[0] + 4 * i, &bits, 4);
  }
  return 0;
}

int main(void) {
  float difference;
  cats_status status = cats_check_model(g_cats_model_data, g_cats_model_data_size);
  if (status == CATS_OK) status = cats_self_test(give, 0, &difference);
  printf("%%s, %%d, %%d\\n", cats_message(status), (int)sizeof(void *), difference < 0.01f);
  return 0;
}
"""


def test_arm_gives_the_same_bits(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """The self-test holds the input that ARM prepares to its hash, and the recorded outputs to their values."""
    folder = bundles["c"].folder
    document = json.loads((folder / "model" / "bundle.json").read_bytes())
    golden = json.loads((folder / "model" / "golden.json").read_bytes())
    processing = Processing.from_dict({**document["processing"], "labels": None}, "bundle")
    sample = golden_inputs(golden, processing, document["models"][0]["inputs"])
    (output,) = load(folder / "model" / "model.tflite").predict(sample).values()
    bits = ", ".join(f"{value}ul" for value in struct.unpack("<4I", output.astype("<f4").tobytes()))
    (tmp_path / "main.c").write_text(MAIN % bits)
    program = tmp_path / "program"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-std=c99", "-static", f"-I{folder}")
    run("aarch64-linux-gnu-gcc", *flags, tmp_path / "main.c", *sorted(folder.glob("*.c")), "-lm", "-o", program)
    assert run("qemu-aarch64-static", program) == "well, 8, 1\n"
