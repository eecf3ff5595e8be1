"""One writer at a time, through a lock that no dead process holds; with real processes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsearch.errors import LibraryError, LibraryLocked, LibraryReadOnly
from clipsearch.index.lock import writer_lock
from clipsearch.index.store import Store

HOLDER = """
import os, sys, time
from pathlib import Path
from clipsearch.index.lock import writer_lock

with writer_lock(Path(sys.argv[1])):
    {before}
    print("locked", os.getpid(), flush=True)
    time.sleep(60)
"""


def start_holder(lock: Path, before: str = "pass") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER.format(before=before), str(lock)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == f"locked {holder.pid}\n"
    return holder


def stop(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()


def refusal(lock: Path) -> str:
    with pytest.raises(LibraryLocked) as caught, writer_lock(lock):
        pass
    return str(caught.value)


def test_the_refusal_names_the_process_and_since_when(tmp_path: Path) -> None:
    holder = start_holder(tmp_path / "lock")
    try:
        expected = (
            rf"{re.escape(str(tmp_path))}: process {holder.pid} is writing to this library "
            r"\(since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\); try again when it is done"
        )
        assert re.fullmatch(expected, refusal(tmp_path / "lock"))
    finally:
        stop(holder)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"4242 2026-11-21T07:05:10+00:00 elsewhere\n", "process 4242 on elsewhere is writing"),
        (b"4242\n", "process 4242 is writing to this library;"),  # as clipsearch 0.1 writes it
        (b"", "another process is writing to this library;"),
        (b"\x1b[2J rm -rf\n", "another process is writing to this library;"),
        (b"9" * 5000, "another process is writing to this library;"),
    ],
)
def test_whatever_the_file_says_the_refusal_is_one_line(
    tmp_path: Path, text: bytes, named: str
) -> None:
    with writer_lock(tmp_path / "lock"):
        (tmp_path / "lock").write_bytes(text)
        assert named in refusal(tmp_path / "lock")


def test_two_writers_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as one, Store.open(tmp_path) as other:
        with one.writing(), pytest.raises(LibraryLocked, match=f"process {os.getpid()} is"):
            other.writing().__enter__()
        with other.writing():
            pass


def test_a_killed_process_holds_nothing_and_is_not_named(tmp_path: Path) -> None:
    stop(start_holder(tmp_path / "lock"))
    with writer_lock(tmp_path / "lock"):
        assert f"process {os.getpid()} is writing" in refusal(tmp_path / "lock")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("way", ["fork", "multiprocessing", "subprocess"])
def test_a_child_that_outlives_a_killed_writer_holds_nothing(tmp_path: Path, way: str) -> None:
    start_child = {
        "fork": "if os.fork() == 0: time.sleep(60); os._exit(0)",
        "multiprocessing": "import multiprocessing as m; "
        "m.get_context('fork').Process(target=time.sleep, args=(60,)).start()",
        "subprocess": "import subprocess; subprocess.Popen(['sleep', '60'])",
    }[way]
    command = [sys.executable, "-c", HOLDER.format(before=start_child), str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == f"locked {holder.pid}\n"
        refusal(tmp_path / "lock")  # the child's end of it did not free the parent's lock
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        try:
            with writer_lock(tmp_path / "lock", wait=True, stop=after(seconds=10)):
                os.killpg(holder.pid, 0)  # the child is there
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_leaves_the_block_frees_nothing(tmp_path: Path) -> None:
    with writer_lock(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            try:
                raise SystemExit  # through the end of the block, as sys.exit does in a child
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        refusal(tmp_path / "lock")


# Waiting


def test_a_waiting_writer_says_once_who_holds_the_lock_and_goes_on(tmp_path: Path) -> None:
    Store.open(tmp_path, create=True).close()
    holder = start_holder(tmp_path / "lock")
    said: list[str] = []

    def say_and_end_the_holder(line: str) -> None:
        said.append(line)
        threading.Timer(0.5, holder.kill).start()

    with (
        Store.open(tmp_path) as store,
        store.writing(wait=True, waiting=say_and_end_the_holder),
    ):
        store.apply([], None)
    holder.communicate()
    assert len(said) == 1
    assert f"process {holder.pid} is writing to this library" in said[0]
    assert said[0].endswith("waiting until it is done")


def test_a_free_lock_is_not_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    with writer_lock(tmp_path / "lock", wait=True, stop=lambda: True, waiting=said.append):
        assert said == []


def test_waiting_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    asked: list[int] = []

    def stop_at_the_third() -> bool:
        asked.append(1)
        return len(asked) == 3

    with writer_lock(tmp_path / "lock"), pytest.raises(LibraryLocked, match="is writing"):
        writer_lock(tmp_path / "lock", wait=True, stop=stop_at_the_third).__enter__()
    assert len(asked) == 3


def test_many_writers_that_wait_take_their_turns(tmp_path: Path) -> None:
    """Each reads a number and writes the next one, which only one at a time gets right."""
    (tmp_path / "number").write_text("0")
    program = """
import sys, time
from pathlib import Path
from clipsearch.index.lock import writer_lock

folder = Path(sys.argv[1])
for _ in range(5):
    with writer_lock(folder / "lock", wait=True):
        number = int((folder / "number").read_text())
        time.sleep(0.01)
        (folder / "number").write_text(str(number + 1))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    assert (tmp_path / "number").read_text() == "20"


# What can be in the way


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
def test_the_lock_works_where_its_text_cannot_be_written(tmp_path: Path) -> None:
    no_bytes = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    command = [sys.executable, "-c", no_bytes + HOLDER.format(before="pass"), tmp_path / "lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == f"locked {holder.pid}\n"
        assert (tmp_path / "lock").read_bytes() == b""
        assert "another process is writing to this library" in refusal(tmp_path / "lock")
        holder.kill()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX links and pipes")
def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(LibraryError, match="lock: "), writer_lock(tmp_path / "lock"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_in_place_of_the_lock_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(LibraryError) as caught, writer_lock(tmp_path / "lock"):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_the_lock_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with writer_lock(tmp_path / "lock"):
        assert "another process is writing" in refusal(tmp_path / "lock")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_folder_that_cannot_be_written_to_is_called_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(LibraryReadOnly, match="can't be written to"):
            writer_lock(tmp_path / "lock").__enter__()
    finally:
        tmp_path.chmod(0o755)
