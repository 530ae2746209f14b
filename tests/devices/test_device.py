from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.devices.device import Device, SshAddress, parse_device, parse_devices, ssh_address
from edgecomp.errors import InputError, SourceError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://pi@raspberrypi.local", SshAddress("raspberrypi.local", "pi", None)),
        ("ssh://Pi4", SshAddress("Pi4", None, None)),  # a name of OpenSSH's configuration keeps its case
        ("ssh://pi@10.0.0.7:2222", SshAddress("10.0.0.7", "pi", 2222)),
        ("ssh://pi@[fe80::1]:22", SshAddress("fe80::1", "pi", 22)),
    ],
)
def test_an_ssh_address_is_taken_apart(url: str, address: SshAddress) -> None:
    assert ssh_address(url) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ssh://pi:secret@host", "password"),
        ("ssh://", "no host"),
        ("ssh://-oProxyCommand=reboot", "no host"),
        ("ssh://-lroot@host", "no host"),
        ("ssh://host/folder", "behind the host"),
        ("ssh://host;reboot now", "behind the host"),
        ("ssh://host:99999", "Port"),
        ("telnet://host", "something else"),
        ("emulated:", "something else"),
    ],
)
def test_what_is_no_address_is_refused(url: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parse_device(url)
    assert "secret" not in str(caught.value)


def test_a_farm_file_names_devices_and_what_is_known_of_them(tmp_path: Path) -> None:
    farm = tmp_path / "farm.toml"
    farm.write_text(
        '[devices.pi4]\nurl = "ssh://pi@pi4.local"\ntarget = "raspberry-pi-4b"\nthreads = 4\n'
        '[devices.here]\nurl = "local"\n'
    )
    assert parse_devices([str(farm), "ssh://pi@10.0.0.7:2222"]) == [
        Device("pi4", "ssh://pi@pi4.local", target="raspberry-pi-4b", threads=4),
        Device("here", "local"),
        Device("10.0.0.7-2222", "ssh://pi@10.0.0.7:2222"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[devices.pi4]\nurl = 7", "url = 7"),
        ('[devices.pi4]\nurl = "local"\nthreads = 0', "threads = 0"),
        ('[devices.pi4]\nurl = "local"\npasswort = "x"', "unknown key 'passwort'"),
        ('[devices."../x"]\nurl = "local"', "the name"),
        ("[devices.pi4]\n", "url"),
        ("x = 1", "devices"),
        ("devices", "TOMLDecodeError"),
    ],
)
def test_a_wrong_farm_file_says_what_is_wrong(text: str, problem: str, tmp_path: Path) -> None:
    farm = tmp_path / "farm.toml"
    farm.write_text(text)
    with pytest.raises(SourceError, match=problem):
        parse_devices([str(farm)])
    with pytest.raises(SourceError, match="No such file"):
        parse_devices([str(tmp_path / "none.toml")])


def test_a_device_that_is_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="2 times"):
        parse_devices(["local", "local"])
