"""Cores that QEMU emulates, with their /proc/cpuinfo, because runtimes choose kernels by both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """One core.

    Attributes:
        name: QEMU's name (`-cpu`).
        title: The designer's name, as in target profiles.
        part: ARM's part number.
        features: The features that Linux lists.
        architecture: ARM's architecture version: 7 is 32-bit, 8 is 64-bit.
    """

    name: str
    title: str
    part: str
    features: str
    architecture: int = 8

    @property
    def cpuinfo(self) -> str:
        """The content of /proc/cpuinfo on a board with four of these cores."""
        lines = (f"Features\t: {self.features}", "CPU implementer\t: 0x41", f"CPU architecture: {self.architecture}")
        rest = "\n".join((*lines, "CPU variant\t: 0x0", f"CPU part\t: {self.part}", "CPU revision\t: 3"))
        return "".join(f"processor\t: {index}\n{rest}\n\n" for index in range(4))


_ARMV7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
_ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
_ARMV8_2 = f"{_ARMV8_0} aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"  # asimddp: dotprod
CORES = {
    core.name: core
    for core in (
        Core("cortex-a7", "Cortex-A7", "0xc07", _ARMV7, architecture=7),
        Core("cortex-a53", "Cortex-A53", "0xd03", _ARMV8_0),
        Core("cortex-a55", "Cortex-A55", "0xd05", _ARMV8_2),
        Core("cortex-a72", "Cortex-A72", "0xd08", _ARMV8_0),
        Core("cortex-a76", "Cortex-A76", "0xd0b", _ARMV8_2),
    )
}
