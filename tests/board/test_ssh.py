"""The whole path to a Raspberry Pi: `edgecomp bench` over OpenSSH, on real ARM code."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
from emulation import IMAGES, Board, running
from typer.testing import Result

pytestmark = pytest.mark.board
Run = Callable[..., Result]
FEATURES = {"cortex-a72": "crc32", "cortex-a76": "asimddp"}
LITE0 = Path(__file__).parents[2] / "examples" / "efficientnet_lite0.py"


@pytest.fixture(scope="module")
def boards() -> Iterator[list[Board]]:
    """A Raspberry Pi 4 and a Raspberry Pi 5."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running("arm64", core)) for core in FEATURES]


@pytest.fixture(scope="module")
def config(boards: list[Board], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OpenSSH configuration that knows both."""
    path = tmp_path_factory.mktemp("ssh") / "config"
    path.write_text("".join(f"Include {board.config}\n" for board in boards))
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's result folder: three int8 artifacts."""
    folder = tmp_path_factory.mktemp("digits") / "digits"
    subprocess.run([sys.executable, "-m", "edgecomp", "demo", "-o", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 with its ImageNet weights, in int8."""
    folder = tmp_path_factory.mktemp("lite0") / "lite0"
    command = [sys.executable, "-m", "edgecomp", "compress", LITE0, "--target", "raspberry-pi-4b", "-o", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def measure(edgecomp: Run, folder: Path, config: Path, *options: object, code: int = 0) -> list[dict]:
    result = edgecomp("bench", folder, "--ssh-config", config, "--warmup", 0, *options, "--json")
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    return document["devices"] if code == 0 else [document]


def on_all(boards: list[Board]) -> list[str]:
    return [word for board in boards for word in ("--device", f"ssh://{board.name}")]


@pytest.mark.parametrize("network", ["digits", "lite0"])
def test_all_three_artifacts_agree_with_golden_on_both_boards(
    network: str, edgecomp: Run, boards: list[Board], config: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(network)
    devices = measure(edgecomp, folder, config, *on_all(boards), "--runs", 1)
    assert {device["device"]["name"] for device in devices} == set(FEATURES)
    for device in devices:
        assert device["device"]["machine"] == "aarch64"
        assert {entry["format"] for entry in device["artifacts"]} == {"tflite", "onnxruntime", "mnn"}
        for entry in device["artifacts"]:
            result = entry["result"]
            assert result["golden"]["agrees"], entry["file"]
            assert result["model"]["sha256"] == entry["sha256"]
            assert result["machine"]["cpu"]["model"].lower() == device["device"]["name"]
            assert FEATURES[device["device"]["name"]] in result["machine"]["cpu"]["features"]
    for board in boards:
        assert board.run("ls", "/home/pi/.cache/edgecomp").split() == ["files"]  # no job is left
    again = measure(edgecomp, folder, config, *on_all(boards[:1]), "--runs", 1, "--formats", "tflite")
    assert (devices[0]["sent_bytes"] > 0, again[0]["sent_bytes"]) == (True, 0)


def test_a_bare_board_is_set_up_from_wheels_of_the_pc(edgecomp: Run, digits: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "python3.11-aarch64"
    IMAGES["arm64"].copy_wheels(wheels)
    options = ("--device", "ssh://cortex-a76", "--formats", "tflite", "--runs", 1)
    with running("arm64", "cortex-a76", runtimes="bare") as bare:
        (before,) = measure(edgecomp, digits, bare.config, *options)
        assert "no numpy" in before["artifacts"][0]["error"]["actual"]  # left out, and no failure
        (after,) = measure(edgecomp, digits, bare.config, *options, "--offline", tmp_path)
        assert after["artifacts"][0]["result"]["golden"]["agrees"]
        stamp = bare.run("stat", "-c", "%y", ".local/share/edgecomp/venv/edgecomp-requirements")
        measure(edgecomp, digits, bare.config, *options, "--offline", tmp_path)
        assert bare.run("stat", "-c", "%y", ".local/share/edgecomp/venv/edgecomp-requirements") == stamp


def test_a_board_of_32_bits_is_given_the_one_runtime_that_it_can_have(
    edgecomp: Run, digits: Path, tmp_path: Path
) -> None:
    IMAGES["armhf"].copy_wheels(tmp_path / "python3.11-armv7l")
    farm = tmp_path / "farm.toml"
    farm.write_text('[devices.pi2]\nurl = "ssh://cortex-a7"\ntarget = "generic-armv7"\n')
    with running("armhf", "cortex-a7", runtimes="bare") as board:
        (device,) = measure(edgecomp, digits, board.config, "--device", farm, "--runs", 1, "--offline", tmp_path)
        assert (device["device"]["machine"], device["device"]["userland_bits"]) == ("armv7l", 32)
        results = {entry["format"]: entry["result"] for entry in device["artifacts"]}
        assert results["tflite"]["runtime"] == {"name": "tflite-runtime", "version": "2.14.0"}
        assert results["tflite"]["golden"]["agrees"]
        assert results["tflite"]["machine"]["cpu"]["model"] == "Cortex-A7"
        assert [name for name, result in results.items() if result is None] == ["mnn", "onnxruntime"]  # left out

        # By hand, without a target: setup.sh itself knows what such a board can have. pip's part was shown above.
        board.send(resources.files("edgecomp.device_scripts").joinpath("setup.sh").read_bytes(), "setup.sh")
        board.run("mkdir", "-p", "wheels/pip-0.whl/pip")
        board.send(b"import sys; open('asked', 'w').write(sys.argv[-1])", "wheels/pip-0.whl/pip/__main__.py")
        board.run("sh", "setup.sh", "--wheels", "wheels")
        assert board.run("cat", "asked") == "tflite-runtime"
        board.run("sh", "setup.sh", "--uninstall")
        assert board.run("ls", "-A", ".local/share", ".cache").split() == [".cache:", ".local/share:"]


def test_a_board_without_python_is_measured_by_the_native_runner(edgecomp: Run, digits: Path, tmp_path: Path) -> None:
    IMAGES["arm64"].copy_wheels(tmp_path / "python3.11-aarch64")
    with running("arm64", "cortex-a76", runtimes="no-python") as board:
        options = ("--device", "ssh://cortex-a76", "--runs", 2, "--offline", tmp_path)
        (device,) = measure(edgecomp, digits, board.config, *options)
        results = {entry["format"]: entry["result"] for entry in device["artifacts"]}
        assert results["onnxruntime"]["golden"]["agrees"]
        assert results["onnxruntime"]["machine"]["cpu"]["model"] == "Cortex-A76"
        assert results["tflite"] is None  # left out
        assert board.run("ls", "/home/pi/.cache/edgecomp").split() == ["files"]


@pytest.mark.parametrize(("home", "actual"), [("size=1m", "bytes free"), ("ro", None)])
def test_a_home_without_room(home: str, actual: str | None, edgecomp: Run, digits: Path, tmp_path: Path) -> None:
    big = tmp_path / "model.tflite"
    big.write_bytes((digits / "model.tflite").read_bytes() + bytes(1 << 20))
    with running("arm64", "cortex-a72", home=home) as board:
        options = ("--device", "ssh://cortex-a72", "--runs", 1)
        (device,) = measure(edgecomp, big, board.config, *options, code=2 if actual else 0)
        if actual is not None:
            assert actual in device["actual"]
            assert "cache/edgecomp" in device["cure"]
        else:
            assert device["device"]["home"] == "/tmp/edgecomp-1000"
            assert device["artifacts"][0]["result"] is not None


def test_a_wrong_key_and_a_changed_host_key_are_refused(
    edgecomp: Run, digits: Path, boards: list[Board], tmp_path: Path
) -> None:
    board = boards[0]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    text = board.config.read_text()
    config = tmp_path / "config"
    config.write_text(text.replace(str(board.folder / "client_key"), str(tmp_path / "other")))
    (error,) = measure(edgecomp, digits, config, *on_all([board]), code=2)
    assert "refuses this user and key" in error["actual"]

    other_key = (tmp_path / "other.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{board.port} {other_key}")
    config.write_text(text.replace(str(board.folder / "known_hosts"), str(tmp_path / "known_hosts")))
    (error,) = measure(edgecomp, digits, config, *on_all([board]), code=2)
    assert "host key has changed" in error["actual"]

    (tmp_path / "known_hosts").write_text("")
    (error,) = measure(edgecomp, digits, config, *on_all([board]), code=2)
    assert "not known yet" in error["actual"]


def test_nothing_runs_on_the_board_after_the_pc_stopped(digits: Path, boards: list[Board]) -> None:
    board = boards[0]
    command = [
        sys.executable,
        "-m",
        "edgecomp",
        "bench",
        digits,
        "--device",
        f"ssh://{board.name}",
        "--ssh-config",
        board.config,
    ]
    process = subprocess.Popen([*command, "--runs", "1000000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    look = ("sh", "-c", '\'cat /proc/[0-9]*/cmdline | tr "\\0" " "\'')
    wait_until(lambda: "--runs=1000000" in board.run(*look))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: "--runs=1000000" not in board.run(*look))
    wait_until(lambda: board.run("ls", "/home/pi/.cache/edgecomp").split() == ["files"])


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_instructions_are_counted_and_repeat_themselves(edgecomp: Run, digits: Path) -> None:
    sysroot = IMAGES["arm64"].root()
    options = ("--device", "emulated:cortex-a76", "--sysroot", sysroot, "--formats", "tflite", "--runs", 3, "--json")
    result = edgecomp("bench", digits, *options)
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)["devices"][0]["artifacts"][0]["result"]
    counts = measured["emulated_instructions"]
    assert 10_000 < counts["min"] <= counts["max"] < 1.01 * counts["min"] < 1_000_000
    assert measured["golden"]["agrees"]
    assert not {"latency_ms", "samples_ms", "load_ms"} & set(measured)  # no time of an emulation is kept
