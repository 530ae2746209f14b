"""Pre-processing of a picture of 12 megapixels to 224 x 224, in each language beside the best known routine there.

    pip install -e ".[examples]" opencv-python-headless
    mkdir npm && (cd npm && npm install kotlin-compiler@2.4.20 pica)
    python benchmarks/pictures.py --npm npm [--rounds 9]

Every language does the whole of it: resize (bilinear over windows, as Pillow does it), crop, normalize. The others only
resize. Times are of the processor, in all threads, so that a busy machine adds little; the figure is the median of all
rounds, which take turns. Needs gcc, Java and Node; a language whose tools are missing is left out, and said to be.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from edgecomp.bundle.build import make_bundle
from edgecomp.frontends import load_source
from edgecomp.frontends.pictures import Preprocessing
from edgecomp.pipeline import compress
from edgecomp.recipe import Recipe

WIDTH, HEIGHT, SIDE = 4000, 3000, 224
STEPS = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HERE = Path(__file__).parent / "pictures"

#: Routine -> milliseconds of every round; edgecomp's own comes first.
Times = dict[str, list[float]]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", type=Path, default=Path("npm"))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print("| language | routine | processor time, ms | edgecomp's time / this one's |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result = make_result(folder)
        (folder / "steps.json").write_text(json.dumps(asdict(STEPS)))
        for language, measure in LANGUAGES.items():
            try:
                times = measure(folder, result, arguments.npm.resolve(), arguments.rounds)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{language} is left out: {error}", file=sys.stderr)
                continue
            for line in rows(language, times):
                print(line)


def rows(language: str, times: Times) -> Iterator[str]:
    """The lines of one language."""
    ours = statistics.median(times["edgecomp"])
    for name, all_of_it in times.items():
        median = statistics.median(all_of_it)
        ratio = "" if name == "edgecomp" else f"{ours / median:.2f}"
        yield f"| {language} | {name} | {median:.0f} | {ratio} |"


def make_result(folder: Path) -> Path:
    """A network that takes such pictures, as small as can be."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["mean"]), helper.make_node("Flatten", ["mean"], ["scores"])],
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
    )
    path = folder / "colors.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    recipe = Recipe("pixel-8", precision="fp32", formats=("tflite", "onnxruntime"))
    return compress(replace(load_source(path), preprocessing=STEPS), "pixel-8", folder / "result", recipe=recipe).folder


def noise() -> Image.Image:
    """A picture without two pixels alike."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def taking_turns(work: dict[str, Callable[[], object]], rounds: int) -> Times:
    """Times of every routine, which take turns."""
    times: Times = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            start = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - start))
    return times


def in_python(folder: Path, result: Path, npm: Path, rounds: int) -> Times:
    """Pillow underneath, and OpenCV where it is installed, which averages areas."""
    picture = noise()
    size = (round(WIDTH * SIDE / HEIGHT), SIDE)
    work: dict[str, Callable[[], object]] = {
        "edgecomp": lambda: STEPS.apply(picture),
        f"Pillow {Image.__version__}": lambda: picture.resize(size, Image.Resampling.BILINEAR),
    }
    try:
        import cv2
    except ImportError:
        print("OpenCV is not installed", file=sys.stderr)
    else:
        pixels = np.asarray(picture)
        work[f"OpenCV {cv2.__version__}, INTER_AREA"] = lambda: cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return taking_turns(work, rounds)


class _Picture(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_char_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("channels", ctypes.c_int32),
    )


def in_c(folder: Path, result: Path, npm: Path, rounds: int) -> Times:
    """Beside Pillow, whose resizing is C."""
    bundle = make_bundle(result, "c", folder / "c", name="bench").folder
    sources = [path for path in bundle.glob("*.c") if "self_test" not in path.name]
    library = folder / "bench.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", *sources, "-lm", "-o", library], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.bench_workspace.restype = ctypes.c_size_t
    picture = noise()
    given = _Picture(picture.tobytes(), WIDTH, HEIGHT, 3)
    workspace = ctypes.create_string_buffer(loaded.bench_workspace(ctypes.byref(given)))
    made = np.empty(3 * SIDE * SIDE, np.float32)

    def ours() -> None:
        place = made.ctypes.data_as(ctypes.c_void_p)
        status = loaded.bench_preprocess(ctypes.byref(given), place, workspace, ctypes.c_size_t(len(workspace)))
        assert status == 0, status

    ours()
    # As TFLite stores it, the channels last.
    assert np.array_equal(made.reshape(SIDE, SIDE, 3), STEPS.apply(picture)[0].transpose(1, 2, 0))
    size = (round(WIDTH * SIDE / HEIGHT), SIDE)
    resize = {f"Pillow {Image.__version__}": lambda: picture.resize(size, Image.Resampling.BILINEAR)}
    return taking_turns({"edgecomp": ours, **resize}, rounds)


def in_kotlin(folder: Path, result: Path, npm: Path, rounds: int) -> Times:
    """On the JVM, beside what the JDK has."""
    compiler = npm / "node_modules" / "kotlin-compiler" / "lib"
    bundle = make_bundle(result, "android", folder / "android", name="bench").folder
    names = {
        "Bundle.kt",
        "Integrity.kt",
        "Json.kt",
        "Processing.kt",
        "Resampling.kt",
    }  # all that knows nothing of Android
    core = [path for path in bundle.rglob("*.kt") if path.name in names]
    jars = (compiler / "kotlin-stdlib.jar", folder / "bench.jar")
    tool = ("-cp", compiler / "kotlin-compiler.jar", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib")
    options = ("-no-reflect", "-cp", jars[0], "-d", jars[1])
    run("java", *tool, *options, *core, HERE / "Bench.kt")
    classes = ":".join(map(str, jars))
    # A collector without threads of its own, whose time counts as little as it does in an app that runs long.
    machine = ("-Xmx2g", "-XX:+UseSerialGC", "-cp", classes)
    return parsed(run("java", *machine, "edgecomp.bench.BenchKt", *numbers(folder, 2 * rounds)), rounds)


def in_typescript(folder: Path, result: Path, npm: Path, rounds: int) -> Times:
    """In Node, beside pica where it is installed."""
    bundle = make_bundle(result, "web", folder / "web", name="bench").folder
    settings, *sizes = numbers(folder, 2 * rounds)
    return parsed(run("node", HERE / "bench.mjs", bundle / "core" / "index.js", settings, npm, *sizes), rounds)


def numbers(folder: Path, rounds: int) -> tuple[object, ...]:
    """What the programs in other languages are told."""
    return folder / "steps.json", WIDTH, HEIGHT, SIDE, rounds


def run(*command: object) -> str:
    """What a program prints; it must be there and end well."""
    if shutil.which(str(command[0])) is None:
        raise FileNotFoundError(f"there is no {command[0]}")
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout


def parsed(output: str, rounds: int) -> Times:
    """The last `rounds` of each routine: compilers at run time need some before."""
    times: Times = {}
    for line in output.splitlines():
        name, milliseconds = line.split("\t")
        times.setdefault(name, []).append(float(milliseconds))
    return {name: each[-rounds:] for name, each in times.items()}


LANGUAGES = {"Python": in_python, "C": in_c, "Kotlin (JVM)": in_kotlin, "TypeScript (Node)": in_typescript}

if __name__ == "__main__":
    main()
