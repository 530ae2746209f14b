"""`edgecomp targets`: list the devices, or show one with its sources."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from edgecomp.cli import common
from edgecomp.cli.common import AsJson, Debug, command


@command
def run(
    name: Annotated[str | None, typer.Argument(help="A target's name, an alias, or the path of a TOML file.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the target devices, or show one with the sources of its facts."""
    from edgecomp.target import list_targets, load_target

    if name is not None:
        profile = load_target(name)
        if as_json:
            common.print_json(profile.as_dict())
        else:
            _show(profile.as_dict())
        return
    profiles = [load_target(known) for known in list_targets()]
    if as_json:
        common.print_json([profile.as_dict() for profile in profiles])
        return
    table = Table()
    for heading in ("name", "device", "cores", "int8 is faster by", "formats"):
        table.add_column(heading, overflow="fold")
    for profile in profiles:
        cores = " + ".join(f"{cluster.count} x {cluster.core}" for cluster in profile.cpu.clusters)
        gain = {"compute": "computing and memory", "memory": "memory"}.get(profile.precisions.get("int8", ""), "")
        table.add_row(profile.name, profile.title, cores or profile.cpu.architecture, gain, ", ".join(profile.defaults.formats))
    common.stdout().print(table)


def _show(profile: dict[str, Any]) -> None:
    console = common.stdout()
    console.print(f"{profile['name']}: {profile['title']}", markup=False)
    for key, value in _flatten({k: v for k, v in profile.items() if k not in {"name", "title", "sources"}}):
        console.print(f"  {key} = {value}", markup=False)
    console.print("sources")
    for source in profile["sources"]:
        console.print(f"  {', '.join(source['facts'])}: {source['title']}, {source['locator']}", markup=False, soft_wrap=True)


def _flatten(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows.extend(_flatten(value, f"{prefix}{key}."))
        elif value not in (None, [], ()):
            rows.append((prefix + key, str(value)))
    return rows
