"""Nothing leaves the machine, and nothing is written but where the documentation says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import clean_environment

HERE = Path(__file__).resolve().parent
ANIMALS = sorted((HERE.parent / "examples" / "photos" / "animals").glob("*.jpg"))
LOOKS_UP = "import socket; socket.getaddrinfo('clipsearch.invalid', 443)"

# Runs a command in a folder; returns what it wrote, and what it did to get out of this machine.
Observer = Callable[[list[str], Path, dict[str, str]], tuple[str, list[str]]]


def by_strace(
    command: list[str], place: Path, environment: dict[str, str]
) -> tuple[str, list[str]]:
    """Look on at each call that names an address."""
    options = [
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmsg,sendmmsg",
        "-o",
        "calls",
    ]
    output = _run(["strace", *options, *command], place, environment)
    return output, [call for call in (place / "calls").read_text().splitlines() if goes_out(call)]


def goes_out(call: str) -> bool:
    """Tell whether a line of strace is a call beyond this machine, or to what looks up names."""
    if "AF_UNIX" in call:  # a service may do it for us, behind a socket
        return re.search(r'sun_path=@?"[^"]*(resolve|mdns|avahi)', call, re.I) is not None
    here = re.search(r'inet_addr\("127\.|"::1"|"::ffff:127\.', call) is not None
    return "AF_INET" in call and (not here or "htons(53)" in call)


def by_counting(
    command: list[str], place: Path, environment: dict[str, str]
) -> tuple[str, list[str]]:
    """Give it a network without any way out; the system counts who looked for one."""
    count = "grep ^Ip: /proc/net/snmp >"
    script = f'ip link set lo up; {count}before; "$@"; {count}after'
    output = _run(["unshare", "-rn", "sh", "-c", script, "sh", *command], place, environment)
    before, after = (_ways_not_found(place / name) for name in ("before", "after"))
    return output, [f"{after - before} times"] if after > before else []


def _ways_not_found(path: Path) -> int:
    names, values = (line.split() for line in path.read_text().splitlines())
    return int(values[names.index("OutNoRoutes")])


def _run(command: list[str], place: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, text=True, timeout=300
    )
    return done.stdout


@pytest.fixture(scope="module")
def observer(tmp_path_factory) -> Observer:
    """Return a means that notices a name looked up; skip the test where there is none."""
    for observe in (by_strace, by_counting):
        place = tmp_path_factory.mktemp("means")
        try:
            _, seen = observe([sys.executable, "-c", LOOKS_UP], place, dict(os.environ))
        except (OSError, ValueError):  # no such program, or this user may not use it
            continue
        if seen:
            return observe
    pytest.skip("did not run: it takes strace, or unshare with the right to empty networks")


@pytest.fixture
def user(tmp_path) -> Iterator[dict[str, str]]:
    """Return the environment of a user who has set nothing, with a home and a /tmp of his own."""
    ours = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "HF_HOME")
    (tmp_path / "home").mkdir()
    with tempfile.TemporaryDirectory() as short:  # a socket's path has to be
        given = clean_environment(HOME=str(tmp_path / "home"), TMPDIR=short)
        yield {
            name: value
            for name, value in given.items()
            if name not in ours and not name.startswith(("XDG_", "MPL"))
        }


def test_the_whole_program_speaks_to_nobody(observer, user, tmp_path, tiny_model_folder) -> None:
    """Every command, from a home that is empty, save those that are there to fetch something."""
    for name, photos in (
        ("photos", ANIMALS[:8]),
        ("classes/a", ANIMALS[:4]),
        ("classes/b", ANIMALS[-4:]),
    ):
        (tmp_path / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo, tmp_path / name)
    shutil.copy(ANIMALS[-1], tmp_path / "new.jpg")
    lines = [f"photos/{photo.name},{photo.stem}" for photo in ANIMALS[:8]]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *lines]))

    program = [sys.executable, str(HERE / "whole_program.py"), str(tiny_model_folder)]
    output, seen = observer(program, tmp_path, user)

    ended = json.loads(output.splitlines()[-1])
    assert not any(ended.values()), ended
    assert not seen
    home = {str(path.relative_to(tmp_path / "home")) for path in _files(tmp_path / "home")}
    ours = re.compile(r"\.local/share/clipsearch/|\.cache/clipsearch/")
    assert home and not {path for path in home if not ours.match(path)}
    socket_lock = re.compile(r"clipsearch-\d+/[0-9a-f-]+\.sock\.lock")
    place = Path(user["TMPDIR"])
    temporary = {str(path.relative_to(place)) for path in _files(place)}
    assert not {path for path in temporary if not socket_lock.fullmatch(path)}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_a_program_that_imports_us_first_is_spared_too(user, tmp_path) -> None:
    program = "import clipsearch, onnxruntime; onnxruntime.SessionOptions()"
    subprocess.run([sys.executable, "-c", program], env=user, check=True)
    assert _files(tmp_path / "home") == []
