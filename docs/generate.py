"""Writes the generated parts of the documentation, between `<!-- NAME -->` and `<!-- /NAME -->`.

`python docs/generate.py` writes all of them and needs what `make test-all` installs; `python docs/generate.py targets`
writes only that one.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgecomp.pipeline import precision_tables
from edgecomp.precision import PRECISIONS, Precision, Support
from edgecomp.target import list_targets, load_target

ROOT = Path(__file__).parents[1]
GAINS = {"compute": "computing and memory", "memory": "memory"}


def targets() -> str:
    """The targets as a Markdown table."""
    rows = ["| target | device | cores | int8 is faster by | formats, preferred first |", "|---|---|---|---|---|"]
    for name in list_targets():
        profile = load_target(name)
        cores = " + ".join(f"{cluster.count} x {cluster.core}" for cluster in profile.cpu.clusters)
        gain = GAINS.get(profile.precisions.get("int8", ""), "")
        formats = ", ".join(profile.defaults.formats)
        rows.append(f"| `{name}` | {profile.title} | {cores or profile.cpu.architecture} | {gain} | {formats} |")
    return "\n".join(rows)


def precisions() -> str:
    """What each format does with each precision as a Markdown table."""
    tables = _tables()
    rows = [f"| precision | weights | activations | {' | '.join(tables)} |", "|---" * (3 + len(tables)) + "|"]
    for name, facts in PRECISIONS.items():
        cells = [table[name].execution for table in tables.values()]
        rows.append(f"| `{name}` | {facts.weights} | {facts.activations} | {' | '.join(cells)} |")
    return "\n".join(rows)


def executions() -> str:
    """How each format executes or stores each precision: a Markdown table for each."""
    parts = []
    for form, table in _tables().items():
        rows = [f"## {form}", "", "| precision | | how |", "|---|---|---|"]
        rows += [f"| `{name}` | {table[name].execution} | {table[name].how} |" for name in PRECISIONS if name != "fp32"]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _tables() -> dict[str, Mapping[Precision, Support]]:
    tables = precision_tables()
    return {name: tables[name] for name in ("tflite", "onnxruntime", "ort", "mnn") if name in tables}


def demo() -> str:
    """What `edgecomp demo` prints."""
    return printed("demo")


def lite0() -> str:
    """What `edgecomp compress examples/efficientnet_lite0.py --target raspberry-pi-4b -o dist/lite0` prints."""
    with tempfile.TemporaryDirectory() as folder:
        task = str(ROOT / "examples" / "efficientnet_lite0.py")
        text = printed("compress", task, "--target", "raspberry-pi-4b", "-o", str(Path(folder) / "lite0"))
        return text.replace(folder, "dist")


def printed(*arguments: str) -> str:
    """A command's output as a code block."""
    command = [sys.executable, "-m", "edgecomp", *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    lines = [line.rstrip() for line in result.stdout.rstrip().splitlines()]
    return "\n".join(["```", *lines, "```"])


def replace_part(path: Path, name: str, content: str) -> None:
    """Replaces what stands between the two marks of `name` in a file."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no part {name}")
    path.write_text(f"{head}{begin}\n{content}\n{end}{tail}", encoding="utf-8")


#: Part -> the file that it stands in, and what makes it.
PARTS = {
    "precisions": ("README.md", precisions),
    "demo": ("README.md", demo),
    "lite0": ("README.md", lite0),
    "executions": ("docs/precisions.md", executions),
    "targets": ("docs/targets.md", targets),
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        file, make = PARTS[name]
        replace_part(ROOT / file, name, make())
