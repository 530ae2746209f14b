"""`edgecomp targets`: list the devices, or show one with its sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecomp.cli.common import Answer, AsJson, Debug, command, say, table

if TYPE_CHECKING:
    from rich.console import Console

_GAINS = {"compute": "time, memory", "memory": "memory"}


@command
def run(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A target's name, an alias, or the path of a TOML file.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> Answer:
    """List the target devices, or show one with its sources."""
    from edgecomp.target import list_targets, load_target

    if name is not None:
        profile = load_target(name).as_dict()
        return Answer(profile, lambda console: _show(profile, console))
    profiles = [load_target(known) for known in list_targets()]

    def show(console: Console) -> None:
        made = table("name", "device", "cores", "int8 saves")
        for profile in profiles:
            cores = " + ".join(f"{cluster.count} x {cluster.core}" for cluster in profile.cpu.clusters)
            gain = _GAINS.get(profile.precisions.get("int8", ""), "")
            made.add_row(profile.name, profile.title, cores or profile.cpu.architecture, gain)
        console.print(made)

    return Answer([profile.as_dict() for profile in profiles], show)


def _show(profile: dict[str, Any], console: Console) -> None:
    facts = {key: value for key, value in profile.items() if key not in {"name", "title", "sources"}}
    lines = [f"{profile['name']}: {profile['title']}"]
    lines += [f"  {key} = {value}" for key, value in _flat(facts)]
    lines += ["sources"]
    for source in profile["sources"]:
        lines.append(f"  {', '.join(source['facts'])}: {source['title']}, {source['locator']}")
    say(console, *lines)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, entry in enumerate(value):
                yield from _flat(entry, f"{prefix}{key}[{index}].")
        elif key == "notes":
            yield from ((prefix + key, note) for note in value)
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
