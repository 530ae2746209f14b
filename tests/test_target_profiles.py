"""What every file in targets/ must keep, whoever adds it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from edgecomp.target import TargetProfile, _bare, list_targets, load_target

FOLDER = Path(__file__).parent.parent / "targets"
PROFILES = {name: load_target(name) for name in list_targets()}

V8_0 = {"neon"}
V8_2 = {"neon", "lse", "fp16", "dotprod"}
V8_6 = {*V8_2, "i8mm", "bf16"}  # The Cortex cores among them are Armv9 and add SVE, which not every kernel exposes.

# After Arm's technical reference manuals and LLVM's AArch64Processors.td.
CORES = {
    **dict.fromkeys(["Cortex-A53", "Cortex-A72", "Cortex-A73"], V8_0),
    **dict.fromkeys(["Cortex-A55", "Cortex-A76", "Cortex-A78AE", "Cortex-X1"], V8_2),
    **dict.fromkeys(["Firestorm", "Icestorm"], V8_2),
    **dict.fromkeys(["Cortex-A510", "Cortex-A715", "Cortex-X3"], V8_6),
    **dict.fromkeys(["Cortex-A520", "Cortex-A720", "Cortex-X4"], V8_6),
    **dict.fromkeys(["Everest", "Sawtooth"], V8_6),
}
REGISTRY_HOSTS = ("pypi.org", "pythonhosted.org", "npmjs", "maven.org", "sonatype.com", "cocoapods.org")


def each(profiles: Iterable[TargetProfile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("profile", list(profiles), ids=lambda profile: profile.name)


each_profile = each(PROFILES.values())
each_device = each(profile for profile in PROFILES.values() if profile.cpu.clusters)
each_generic_target = each(profile for profile in PROFILES.values() if not profile.cpu.clusters)


def test_the_list_is_what_lies_in_the_folder() -> None:
    assert list_targets() == tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


def test_the_devices_that_the_documentation_promises_are_there() -> None:
    assert {"raspberry-pi-4b", "raspberry-pi-5", "pixel-8", "iphone-15", "generic-arm64"} <= PROFILES.keys()
    assert load_target("mid-range-android-2020").name == "galaxy-a51"


def test_no_two_profiles_share_a_name_or_an_alias() -> None:
    uses = Counter(_bare(name) for profile in PROFILES.values() for name in (profile.name, *profile.aliases))

    assert [name for name, count in uses.items() if count > 1] == []


@each_profile
def test_the_name_is_the_files_and_canonical(profile: TargetProfile) -> None:
    assert tomllib.loads((FOLDER / f"{profile.name}.toml").read_text(encoding="utf-8"))["name"] == profile.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", profile.name)


@each_profile
def test_every_alias_leads_to_it(profile: TargetProfile) -> None:
    assert {load_target(alias).name for alias in profile.aliases} <= {profile.name}


@each_profile
def test_every_fact_has_a_source(profile: TargetProfile) -> None:
    assert [fact for fact in profile.facts() if not profile.sources_of(fact)] == []


@each_profile
def test_every_source_is_for_a_fact_that_is_there(profile: TargetProfile) -> None:
    facts = profile.facts()
    named = {name for source in profile.sources for name in source.facts}

    assert [name for name in named if not any(f"{fact}.".startswith(f"{name}.") for fact in facts)] == []


@each_profile
def test_no_package_registry_is_named(profile: TargetProfile) -> None:
    text = (FOLDER / f"{profile.name}.toml").read_text(encoding="utf-8")

    assert [host for host in REGISTRY_HOSTS if host in text] == []


@each_device
def test_the_features_are_those_that_all_its_cores_have(profile: TargetProfile) -> None:
    shared = set.intersection(*(set(CORES[cluster.core]) for cluster in profile.cpu.clusters))

    assert set(profile.cpu.features) - {"sve", "sve2"} == shared


@each_generic_target
def test_a_generic_target_promises_no_more_than_its_architecture(profile: TargetProfile) -> None:
    baseline = {"arm64": {"neon"}, "armv7": {"neon"}, "x86_64": {"sse4_2", "avx2", "fma"}}

    assert profile.cpu.features == baseline[profile.cpu.architecture]
    assert profile.defaults.threads == 1


@each_profile
def test_precisions_gain_what_the_features_allow(profile: TargetProfile) -> None:
    """Int8 saves instructions only with dot products; fp16 arithmetic needs the fp16 extension."""
    int8 = "compute" if profile.cpu.features & {"dotprod", "i8mm", "avx2", "vnni"} else "memory"
    expected: Mapping[str, str] = {"int8": int8} | ({"fp16": "compute"} if "fp16" in profile.cpu.features else {})

    assert profile.precisions == expected


@each_profile
def test_channels_fill_the_tiles_of_xnnpack(profile: TargetProfile) -> None:
    wide = profile.cpu.features & {"dotprod", "avx2"}

    assert profile.cpu.simd_channels == (16 if wide else 8)


@each_profile
def test_defaults_can_run_on_the_device(profile: TargetProfile) -> None:
    first = profile.runtimes[profile.defaults.formats[0]]

    assert profile.defaults.threads <= (profile.cpu.cores or 1)
    assert profile.kind == "phone" or first.wheel
    assert len(set(profile.defaults.formats)) == len(profile.defaults.formats)


@each_profile
def test_all_formats_have_an_entry_and_no_bad_release_is_recommended(profile: TargetProfile) -> None:
    assert profile.runtimes.keys() == {"tflite", "onnxruntime", "mnn"}
    for runtime in profile.runtimes.values():
        assert runtime.version not in {bad.version for bad in runtime.known_bad}
        assert runtime.version is not None or not runtime.wheel


@each_profile
def test_memory_variants_rise(profile: TargetProfile) -> None:
    sizes = profile.memory.variants_mib if profile.memory else ()

    assert list(sizes) == sorted(set(sizes))


def test_onnxruntime_1_21_0_is_known_to_crash_on_a_raspberry_pi_4() -> None:
    (bad,) = load_target("rpi4").runtimes["onnxruntime"].known_bad

    assert bad.version == "1.21.0"
    assert "Illegal instruction" in bad.reason
    assert all(issue in bad.source for issue in ("23957", "24112"))


def test_a_32_bit_system_has_tflite_only() -> None:
    profile = load_target("armv7l")

    assert {name for name, runtime in profile.runtimes.items() if runtime.wheel} == {"tflite"}
    assert profile.defaults.formats == ("tflite",)
