"""Writes the generated parts of the documentation, between `<!-- NAME -->` and `<!-- /NAME -->`."""

from pathlib import Path

from edgecomp.target import list_targets, load_target

ROOT = Path(__file__).parents[1]
GAINS = {"compute": "computing and memory", "memory": "memory"}


def targets_table() -> str:
    """The targets as a Markdown table."""
    rows = ["| target | device | cores | int8 is faster by | formats, preferred first |", "|---|---|---|---|---|"]
    for name in list_targets():
        profile = load_target(name)
        cores = " + ".join(f"{cluster.count} x {cluster.core}" for cluster in profile.cpu.clusters)
        gain = GAINS.get(profile.precisions.get("int8", ""), "")
        formats = ", ".join(profile.defaults.formats)
        rows.append(f"| `{name}` | {profile.title} | {cores or profile.cpu.architecture} | {gain} | {formats} |")
    return "\n".join(rows)


def replace_part(path: Path, name: str, content: str) -> None:
    """Replaces what stands between the two marks of `name` in a file."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no part {name}")
    path.write_text(f"{head}{begin}\n{content}\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    replace_part(ROOT / "README.md", "targets", targets_table())
