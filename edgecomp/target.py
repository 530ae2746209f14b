"""The contract that a target profile fulfils: the facts about one device, where each comes from, and no code.

A profile is one TOML file, `targets/NAME.toml` or a user's own. Its tables are the dataclasses below, field for field:

    schema = 1                              # the version of this grammar
    name = "raspberry-pi-4b"                # lower case, hyphens; the file's name
    title = "Raspberry Pi 4 Model B"
    kind = "single-board computer"
    aliases = ["rpi4", "pi-4"]              # optional, as are `soc`, `memory` and `notes`
    soc = "Broadcom BCM2711"
    [cpu]                                   # architecture, features, simd_channels
    [[cpu.clusters]]                        # core, count, max_mhz
    [memory]                                # variants_mib, bandwidth_gb_per_s
    [runtimes.FORMAT]                       # package, wheel, version, notes
    [[runtimes.FORMAT.known_bad]]           # version, reason, source
    [precisions]                            # int8 = "compute" or "memory": what it saves over fp32
    [defaults]                              # precision, formats, threads
    [[sources]]                             # facts = ["soc", "cpu", "memory.variants_mib"], title, locator

Rules:

1. A figure that nobody documents is left out, never estimated.
2. Every fact has a source, under its own dotted name or under its table's. Names, notes and defaults are edgecomp's own
   choices and need none (`TargetProfile.facts` lists what needs one).
3. Numbers are counts or measures, so they are greater than zero.
4. An unknown key is an error: a misspelt fact must not vanish silently.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from edgecomp.decoding import COUNT, TEXT, TRUTH, Grammar, Leaf, MismatchError
from edgecomp.errors import InputError, SourceError, UnknownTargetError
from edgecomp.precision import Precision

SCHEMA = 1

Kind = Literal["single-board computer", "development board", "phone", "desktop", "generic"]
Architecture = Literal["arm64", "armv7", "x86_64"]
Feature = Literal[
    "neon", "fp16", "dotprod", "i8mm", "bf16", "lse", "sve", "sve2", "sse4_2", "avx2", "fma", "avx512", "vnni"
]
Gain = Literal["compute", "memory"]


@dataclass(frozen=True)
class Cluster:
    """Cores of one type.

    Attributes:
        core: The core's name as its designer writes it, "Cortex-A76".
        count: How many of them.
        max_mhz: Highest clock in MHz, where the vendor documents it.
    """

    core: str
    count: int
    max_mhz: int | None = None


@dataclass(frozen=True)
class Cpu:
    """What the runtimes' kernels run on.

    Attributes:
        architecture: The userland's architecture: a 64-bit core under a 32-bit system is "armv7".
        features: Instruction set extensions that *every* core has, because the scheduler moves threads around.
        simd_channels: Channels that a pruned layer should be a multiple of, to fill the kernels' tiles.
        clusters: Fastest cores first; empty for a generic target.
    """

    architecture: Architecture
    features: frozenset[Feature]
    simd_channels: int
    clusters: tuple[Cluster, ...] = ()

    @property
    def cores(self) -> int | None:
        """The number of cores, or None for a generic target."""
        return sum(cluster.count for cluster in self.clusters) or None


@dataclass(frozen=True)
class Memory:
    """Main memory.

    Attributes:
        variants_mib: The sizes sold, in MiB, smallest first.
        bandwidth_gb_per_s: Peak bandwidth in GB/s, where the vendor documents it.
    """

    variants_mib: tuple[int, ...]
    bandwidth_gb_per_s: float | None = None


@dataclass(frozen=True)
class KnownBad:
    """A release of a runtime that must not be used on the device.

    Attributes:
        version: The release.
        reason: What goes wrong.
        source: Where that is documented.
    """

    version: str
    reason: str
    source: str


@dataclass(frozen=True)
class Runtime:
    """How the device gets the runtime of one format.

    Attributes:
        package: The package's name in the device's own channel: a wheel, a Maven artifact or a CocoaPod.
        wheel: Whether there is a Python wheel for the device's userland.
        version: The release to use, or None where none was checked.
        known_bad: Releases that must not be used.
        notes: What else one has to know.
    """

    package: str
    wheel: bool
    version: str | None = None
    known_bad: tuple[KnownBad, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defaults:
    """What edgecomp does for this target when it is not told otherwise.

    Attributes:
        precision: The precision to compress to.
        formats: The formats to write, the preferred one first; each has an entry in `runtimes`.
        threads: Threads to run with.
    """

    precision: Precision
    formats: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class Source:
    """Where facts come from.

    Attributes:
        facts: Dotted names of facts or tables: "soc", "cpu.features", "runtimes".
        title: The document's title.
        locator: How to find it: an address, a document number, or the command that shows the fact.
    """

    facts: tuple[str, ...]
    title: str
    locator: str


@dataclass(frozen=True)
class TargetProfile:
    """One device.

    Attributes:
        schema: Version of the grammar that the file follows.
        name: Canonical name: lower case, words joined by hyphens.
        title: The product's name.
        kind: What sort of device it is.
        cpu: What the runtimes' kernels run on.
        runtimes: Format name -> how the device gets that format's runtime.
        precisions: Precision -> what it saves over fp32 on this instruction set: "compute" (instructions and memory
            traffic) or "memory" (traffic only). A precision that is not listed is not known to be faster than fp32.
        defaults: What to do when not told otherwise.
        soc: The chip.
        memory: Main memory.
        aliases: Further names, unique over all profiles; case, hyphens, underscores and spaces make no difference.
        notes: What else a user of the device has to know.
        sources: Where the facts come from.
    """

    schema: int
    name: str
    title: str
    kind: Kind
    cpu: Cpu
    runtimes: Mapping[str, Runtime]
    precisions: Mapping[Precision, Gain]
    defaults: Defaults
    soc: str | None = None
    memory: Memory | None = None
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()

    def accelerates(self, precision: Precision) -> bool:
        """Whether `precision` saves instructions on this device, and not only memory traffic."""
        return self.precisions.get(precision) == "compute"

    def facts(self) -> tuple[str, ...]:
        """Dotted names of the facts that need a source (rule 2): "soc", "cpu.features", "runtimes.tflite", ..."""
        tables = {name: value for name, value in self.as_dict().items() if name not in _CHOICES}
        return tuple(
            fact
            for name, value in tables.items()
            for fact in ([f"{name}.{key}" for key in value] if isinstance(value, dict) else [name])
        )

    def sources_of(self, fact: str) -> tuple[Source, ...]:
        """The sources given for a fact, under its own dotted name or under its table's."""
        return tuple(source for source in self.sources if any(f"{fact}.".startswith(f"{n}.") for n in source.facts))

    def as_dict(self) -> dict[str, Any]:
        """The profile as plain data, as `--json` prints it: the TOML file's own keys, without what it leaves out."""
        plain: dict[str, Any] = _plain(self)
        return plain


_CHOICES = frozenset({"schema", "name", "title", "kind", "aliases", "notes", "defaults", "sources"})


def list_targets() -> tuple[str, ...]:
    """The canonical names of all profiles that come with edgecomp, sorted.

    Raises:
        SourceError: edgecomp is not fully installed.
    """
    return tuple(sorted(_shipped()))


def load_target(name_or_path: str | Path | TargetProfile) -> TargetProfile:
    """Reads a target profile.

    Args:
        name_or_path: A canonical name or an alias, in any case, with hyphens, underscores, spaces or none; or the path
            to a `.toml` file. A profile is given back as it is.

    Raises:
        UnknownTargetError: No profile has that name.
        SourceError: The file is missing or not a valid profile, or edgecomp is not fully installed.
    """
    if isinstance(name_or_path, TargetProfile):
        return name_or_path
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        return _read(Path(name_or_path))
    shipped, wanted = _shipped(), _bare(name_or_path)
    for name, file in shipped.items():
        if _bare(name) == wanted:
            return _read(file)
    profiles = [_read(file) for file in shipped.values()]
    names = {_bare(name): profile for profile in profiles for name in (profile.name, *profile.aliases)}
    if wanted in names:
        return names[wanted]
    nearest = dict.fromkeys(names[near].name for near in difflib.get_close_matches(wanted, names, n=5))
    raise UnknownTargetError(
        f"target {name_or_path!r}",
        expected="a target's name or alias, or the path to a .toml profile",
        actual="no target has that name" + (f"; the nearest are: {', '.join(nearest)}" if nearest else ""),
        cure="choose one of those that `edgecomp targets` lists, or describe your device in a .toml file",
    )


def require_target(name: str | None, source: Path) -> str:
    """The name itself, when there is one.

    Raises:
        InputError: Nobody named a target.
    """
    if name is None:
        raise InputError(
            f"the target of {source}",
            expected="a target, named with --target or by the folder's manifest",
            actual="none",
            cure="add --target NAME; `edgecomp targets` lists them",
        )
    return name


def _bare(name: str) -> str:
    """A name as names are compared: "RPi 4", "rpi_4" and "rpi4" are the same."""
    return re.sub(r"[\s_-]", "", name).lower()


def _shipped() -> dict[str, Traversable]:
    """Canonical name -> profile file. The folder lies outside edgecomp/ and is mapped in when edgecomp is installed."""
    try:
        files = list(resources.files("edgecomp.targets").iterdir())
    except ModuleNotFoundError:
        files = []
    profiles = {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}
    if not profiles:
        raise SourceError(
            "the target profiles of edgecomp",
            expected="the package `edgecomp.targets` with a .toml file per device",
            actual="edgecomp is not fully installed: no profile was found",
            cure="run `pip install -e .` in the checkout, or install edgecomp again",
        )
    return profiles


def _read(file: Traversable | Path) -> TargetProfile:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        schema = _GRAMMAR.decode(int, table.get("schema", SCHEMA), "schema")
        if schema > SCHEMA:
            raise MismatchError(f"schema: up to {SCHEMA}", str(schema), "update edgecomp")
        profile: TargetProfile = _GRAMMAR.table(TargetProfile, table)
        strangers = [name for name in profile.defaults.formats if name not in profile.runtimes]
        if strangers:
            known = ", ".join(profile.runtimes)
            raise MismatchError(f"defaults.formats: some of those in runtimes, {known}", ", ".join(strangers))
    except OSError as error:
        problem = MismatchError("a readable file", error.strerror or str(error), "check the path")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = MismatchError("TOML in UTF-8", str(error), "correct the file's syntax")
    except MismatchError as error:
        problem = error
    else:
        return profile
    cure = problem.cure or "correct it; `edgecomp/target.py` documents the grammar"
    raise SourceError(f"target profile {file}", expected=problem.expected, actual=problem.actual, cure=cure)


#: Rule 3.
_GRAMMAR = Grammar(
    {
        str: TEXT,
        bool: TRUTH,
        int: COUNT,
        float: Leaf("a number above 0", lambda value: type(value) is float and value > 0),
    }
)


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, sets and tuples as lists; what is None or empty is left out."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item not in (None, (), {})}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
