"""Decoding in processes: the same pixels, and no decoder takes more than its photo down."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from made_raws import dng, preview_of
from misbehaving_decoder import MARK, MISBEHAVING
from odd_pictures import odd_pictures, saved
from places import TESTS

from clipsearch.errors import ClipsearchError, UnreadableImage
from clipsearch.photos.decoder_pool import DecoderPool, PreparedPhoto, memory_for
from clipsearch.photos.preparing import Unreadable, prepare
from clipsearch.photos.preprocessing import Preprocessing

SMALL = Preprocessing(40, 32)
MODEL = Preprocessing(224, 224)
LIMIT = 100.0  # megapixels

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

Pools = Callable[..., DecoderPool]


def misbehave(how: str) -> bytes:
    return MARK + how.encode()


def reason(future: Future[PreparedPhoto]) -> str:
    with pytest.raises(UnreadableImage) as caught:
        future.result(timeout=60)
    return str(caught.value)


def in_process(data: bytes, preprocessing: Preprocessing = SMALL) -> PreparedPhoto:
    prepared = prepare(data, preprocessing, max_megapixels=LIMIT)
    if isinstance(prepared, Unreadable):
        raise UnreadableImage(prepared.reason)
    pixels = np.frombuffer(prepared.pixels, np.uint8)
    shape = (preprocessing.height, preprocessing.width, 3)
    return PreparedPhoto(prepared.metadata, pixels.reshape(shape))


def assert_same(photo: PreparedPhoto, other: PreparedPhoto) -> None:
    assert photo.metadata == other.metadata
    assert photo.pixels.dtype == np.uint8
    assert np.array_equal(photo.pixels, other.pixels)


def children() -> set[int]:
    """Return the processes that this one started and that are there, be it as zombies."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and parent_of(int(folder.name)) == os.getpid():
            found.add(int(folder.name))
    return found


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_until(true: Callable[[], object], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def pool_of() -> Iterator[Pools]:
    """Return what makes pools whose decoders misbehave on demand; closes them."""
    pools: list[DecoderPool] = []

    def make(preprocessing: Preprocessing = SMALL, **options: object) -> DecoderPool:
        settings = {"max_megapixels": LIMIT, "workers": 1, "_entry": MISBEHAVING, **options}
        pools.append(DecoderPool(preprocessing, **settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture(scope="module")
def photo(sample_photos: list[Path]) -> bytes:
    return sample_photos[0].read_bytes()


# The same as without


def test_real_photos_come_out_as_they_do_in_this_process(
    pool_of: Pools, sample_photos: list[Path], repository: Path
) -> None:
    examples = sorted((repository / "examples" / "photos").rglob("*.jpg"))
    files = [path.read_bytes() for path in [*sample_photos, *examples]]
    for preprocessing in (MODEL, Preprocessing(90, 70, resize_mode="longest", fill_color=(7,) * 3)):
        pool = pool_of(preprocessing, workers=2)
        futures = [pool.submit(data) for data in files]
        for data, future in zip(files, futures, strict=True):
            assert_same(future.result(timeout=60), in_process(data, preprocessing))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_odd_pictures_have_the_same_pixels_or_the_same_reasons(pool_of: Pools) -> None:
    pool = pool_of(workers=2)
    futures = {name: (p.data, pool.submit(p.data)) for name, p in odd_pictures().items()}
    opened = 0
    for name, (data, future) in futures.items():
        try:
            expected = in_process(data)
        except UnreadableImage as error:
            assert reason(future) == str(error), name
        else:
            assert_same(future.result(timeout=60), expected)
            opened += 1
    assert 180 < opened < len(futures) - 20


@linux
def test_raw_photos_come_out_as_they_do_in_this_process(pool_of: Pools, photo: bytes) -> None:
    """LibRaw is loaded for the first of them, and works on one core."""
    pool = pool_of(MODEL)
    (pid,) = pool_pids(pool, photo)
    assert "libraw" not in Path(f"/proc/{pid}/maps").read_text()
    scene = odd_pictures()["rgb 8.png"].shows
    assert scene is not None
    scene = np.tile(scene, (16, 16, 1))  # even, and large enough for several threads
    for data in (dng(scene, orientation=8), dng(scene, preview=preview_of(scene))):
        assert_same(pool.submit(data).result(timeout=60), in_process(data, MODEL))
    assert pool_pids(pool, photo) == {pid}
    assert "libraw" in Path(f"/proc/{pid}/maps").read_text()
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


def test_many_photos_through_few_processes_keep_their_futures(
    pool_of: Pools, sample_photos: list[Path]
) -> None:
    expected = {path: in_process(path.read_bytes()) for path in sample_photos}
    pool = pool_of(workers=3)
    order = [sample_photos[i * 7 % len(sample_photos)] for i in range(300)]
    futures = [pool.submit(path.read_bytes()) for path in order]
    for path, future in zip(order, futures, strict=True):
        assert_same(future.result(timeout=60), expected[path])


def test_a_file_larger_than_any_pipe(pool_of: Pools, photo: bytes) -> None:
    padded = photo + bytes(20 << 20)
    assert_same(pool_of().submit(padded).result(timeout=60), in_process(photo))


def test_an_empty_file(pool_of: Pools) -> None:
    assert reason(pool_of().submit(b"")) == "the file is empty"


# One photo each


CRASHES = {
    "crash": "the decoder crashed (SIGSEGV)",
    "abort": "the decoder crashed (SIGABRT)",
    f"signal {int(signal.SIGFPE)}": "the decoder crashed (SIGFPE)",
    "exit 0": "the decoder crashed (exit code 0)",
    "exit 7": "the decoder crashed (exit code 7)",
    "raise": "the decoder failed: NotImplementedError: no such thing",
    "bad_alloc": "needs more than 1.1 GB of memory to decode",
    "nonsense": "the decoder answered with something that is no picture",
}


@linux
@pytest.mark.parametrize("how", CRASHES)
def test_a_crash_costs_one_photo_and_one_process(pool_of: Pools, photo: bytes, how: str) -> None:
    pool = pool_of(memory=1 << 30)
    before = pool.submit(photo)
    crashed = pool.submit(misbehave(how))
    after = pool.submit(photo)
    assert reason(crashed) == CRASHES[how]
    for future in (before, after):
        assert_same(future.result(timeout=60), in_process(photo))


@pytest.mark.parametrize("how", ["sleep", "hang"])
def test_a_hang_ends_at_the_time_limit(pool_of: Pools, photo: bytes, how: str) -> None:
    pool = pool_of(seconds=1.5)
    hung, after = pool.submit(misbehave(how)), pool.submit(photo)
    assert reason(hung) == "decoding took longer than 1.5 s"
    assert_same(after.result(timeout=60), in_process(photo))


def test_the_time_limit_does_not_count_waiting_for_a_process(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of(seconds=1)
    waiting = [pool.submit(misbehave("sleep")) for _ in range(2)] + [pool.submit(photo)]
    assert [reason(future) for future in waiting[:2]] == ["decoding took longer than 1 s"] * 2
    assert_same(waiting[2].result(timeout=60), in_process(photo))


@posix
def test_a_stopped_program_lets_no_time_limit_go_by(tmp_path: Path, photo: bytes) -> None:
    """Ctrl-Z stops the program and its decoders; the photo is decoded when they go on."""
    (tmp_path / "photo").write_bytes(photo)
    program = f"""
        import sys, time
        pool = DecoderPool(Preprocessing(40, 32), max_megapixels=100, workers=1, seconds=2)
        data = open({str(tmp_path / "photo")!r}, "rb").read()
        pool.submit(data).result()
        while True:  # is stopped somewhere here
            print(pool.submit(data).result().metadata.format, flush=True)
    """
    with started(program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "JPEG\n"
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(4)
        os.killpg(process.pid, signal.SIGCONT)
        for _ in range(200):  # more than the pipe can have held
            assert process.stdout.readline() == "JPEG\n"


@linux
def test_eating_memory_ends_at_the_limit(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of(memory=200_000_000)
    eating, after = pool.submit(misbehave("eat 2000")), pool.submit(photo)
    assert reason(eating) == "needs more than 0.2 GB of memory to decode"
    assert_same(after.result(timeout=60), in_process(photo))


@linux
def test_a_picture_and_a_file_over_the_memory_limit_say_so(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of(memory=50_000_000)
    large_picture = b"P6 8000 6000 255\n" + bytes(3 * 8000 * 6000)
    large_raw = dng(np.random.default_rng(0).integers(0, 255, (2000, 3000, 3)).astype(np.uint8))
    for data in (large_picture, large_raw, photo + bytes(200 << 20)):
        assert reason(pool.submit(data)) == "needs more than 0.1 GB of memory to decode"
    assert_same(pool.submit(photo).result(timeout=60), in_process(photo))


@linux
def test_a_process_that_keeps_much_memory_is_replaced(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of()
    first = pool_pids(pool, photo)
    assert reason(pool.submit(misbehave("keep 50"))) == "damaged, and leaking"
    assert pool_pids(pool, photo) == first
    assert reason(pool.submit(misbehave("keep 400"))) == "damaged, and leaking"
    assert pool_pids(pool, photo).isdisjoint(first)


def pool_pids(pool: DecoderPool, photo: bytes) -> set[int]:
    pool.submit(photo).result(timeout=60)
    return {process._popen.pid for process in pool._processes}


def test_what_c_libraries_print_reaches_neither_the_terminal_nor_the_protocol(
    pool_of: Pools, photo: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = pool_of()
    talked, after = pool.submit(misbehave("talk")), pool.submit(photo)
    assert reason(talked) == "it talked"
    assert_same(after.result(timeout=60), in_process(photo))
    assert capfd.readouterr() == ("", "")


# Not the photo's fault


@posix
def test_a_photo_whose_process_was_killed_gets_another_try(pool_of: Pools, tmp_path: Path) -> None:
    marker = tmp_path / "was-here"
    assert reason(pool_of().submit(misbehave(f"die_once {marker}"))) == "seen again"


@posix
def test_a_photo_whose_process_is_killed_twice_fails(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of()
    killed = pool.submit(misbehave(f"signal {int(signal.SIGKILL)}"))
    assert reason(killed) == (
        "the decoder was killed twice (SIGKILL): the machine may be short of memory"
    )
    assert_same(pool.submit(photo).result(timeout=60), in_process(photo))


@linux
def test_processes_killed_from_outside_lose_no_photo(
    pool_of: Pools, sample_photos: list[Path]
) -> None:
    pool = pool_of(workers=2)
    files = [path.read_bytes() for path in sample_photos]
    pool.submit(files[0]).result(timeout=60)
    for round_ in range(4):
        futures = [pool.submit(data) for data in files]
        futures[round_].result(timeout=60)
        os.kill(max(process._popen.pid for process in list(pool._processes)), signal.SIGKILL)
        for data, future in zip(files, futures, strict=True):
            assert_same(future.result(timeout=60), in_process(data))


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_to_the_whole_group_leave_the_decoders_alone(
    pool_of: Pools, photo: bytes, name: str
) -> None:
    pool = pool_of()
    pids = pool_pids(pool, photo)
    for pid in pids:
        os.kill(pid, getattr(signal, name))
    assert pool_pids(pool, photo) == pids


@linux
def test_ctrl_c_while_they_start_leaves_them_alone(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of()
    pool.start()
    wait_until(lambda: pool._processes, "a process")
    pid = next(iter(pool._processes))._popen.pid
    os.kill(pid, signal.SIGINT)  # before Python can have started in it
    assert pool_pids(pool, photo) == {pid}


# No process at all


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("raise ImportError('no decoder here')", "ImportError: no decoder here"),
        ("import clipsearch.nowhere", "No module named 'clipsearch.nowhere'"),
        ("sys.exit(3)", "it ended at its start (exit code 3)"),
        ("import os; os.write(1, bytes(8)); import time; time.sleep(60)", "as it should"),
    ],
)
def test_processes_that_do_not_start_are_an_error_with_the_cause(
    pool_of: Pools, photo: bytes, entry: str, cause: str
) -> None:
    pool = pool_of(workers=3, _entry=entry)
    futures = [pool.submit(photo) for _ in range(8)]
    for future in futures:
        with pytest.raises(ClipsearchError, match="no process to decode photos") as caught:
            future.result(timeout=60)
        assert not isinstance(caught.value, UnreadableImage)
        assert cause in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ClipsearchError, match="no process to decode photos"):
        pool.submit(photo).result(timeout=60)
    assert not pool._threads and not pool._processes  # nothing goes on trying


def test_no_program_to_run_is_an_error_with_the_cause(
    pool_of: Pools, photo: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for executable, cause in (("", "sys.executable"), (str(tmp_path / "gone"), "No such file")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(ClipsearchError, match=cause):
            pool_of().submit(photo).result(timeout=60)


@posix
def test_a_system_that_allows_no_more_processes() -> None:
    """For root, the limit on processes does not hold: it is one on open files here."""
    program = """
        import resource
        pool = DecoderPool(Preprocessing(40, 32), max_megapixels=100, workers=2)
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
        try:
            pool.submit(b"").result()
        except ClipsearchError as error:
            print(error)
    """
    said = run(program)
    assert "no process to decode photos can be started: Too many open files" in said


def test_a_system_that_allows_no_more_threads(
    pool_of: Pools, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = pool_of(workers=2)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.start()
    with pytest.raises(ClipsearchError, match=r"no process .* started: can't start new thread"):
        pool.submit(photo).result(timeout=60)


def test_one_process_that_can_not_be_started_leaves_the_work_to_the_others(
    pool_of: Pools, photo: bytes, tmp_path: Path
) -> None:
    log, first = tmp_path / "log", tmp_path / "first"
    entry = (
        f"import os; open({str(log)!r}, 'a').write('start '); "
        f"os.mkdir({str(first)!r}); "  # only one process can
        "from clipsearch.photos.decoder_process import main; main()"
    )
    pool = pool_of(workers=3, _entry=entry)
    pool.start()
    for _ in range(2):  # when the others have given up, they are not tried again
        futures = [pool.submit(photo) for _ in range(30)]
        for future in futures:
            assert_same(future.result(timeout=60), in_process(photo))
        wait_until(lambda: len(pool._threads) == 1, "the others to give up")
        assert log.read_text().split() == ["start"] * (1 + 3 + 3)


# Starting and ending


def test_nothing_is_started_before_it_is_needed(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of(workers=8)
    assert not pool._processes and not pool._threads
    pool.submit(photo).result(timeout=60)
    pool.submit(photo).result(timeout=60)
    assert len(pool._threads) <= 2  # one may be on its way back when the second comes
    pool.start()
    wait_until(lambda: len(pool._processes) == 8, "all processes")


@linux
def test_closing_in_the_middle_of_work_leaves_nothing(pool_of: Pools, photo: bytes) -> None:
    before, threads = children(), threading.active_count()
    pool = pool_of(workers=2)
    futures = [pool.submit(misbehave(how)) for how in ("sleep", "hang")]
    futures += [pool.submit(photo) for _ in range(20)]
    wait_until(lambda: all(future.running() for future in futures[:2]), "both to hang")
    pool.close()
    assert all(future.done() for future in futures)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result()
    assert children() == before
    wait_until(lambda: threading.active_count() == threads, "the clock's end")
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(photo)
    pool.close()


@linux
def test_closing_while_the_processes_start_leaves_nothing(pool_of: Pools) -> None:
    before = children()
    for delay in (0, 0.005, 0.02, 0.05, 0.1):
        pool = pool_of(workers=3)
        pool.start()
        time.sleep(delay)
        pool.close()
        assert children() == before


def test_a_photo_cancelled_before_its_turn_is_left_out(pool_of: Pools, photo: bytes) -> None:
    pool = pool_of(seconds=1)
    hung, cancelled, after = (
        pool.submit(data) for data in (misbehave("sleep"), misbehave("crash"), photo)
    )
    assert cancelled.cancel()
    assert reason(hung).startswith("decoding took longer")
    assert_same(after.result(timeout=60), in_process(photo))


def test_files_are_not_kept_once_they_are_decoded(pool_of: Pools, photo: bytes) -> None:
    class Watched(bytes):
        pass

    pool = pool_of(workers=2)
    futures = [pool.submit(Watched(data)) for data in (photo, b"no picture", misbehave("crash"))]
    wait(futures, timeout=60)
    wait_until(  # a thread that has just answered may still be on its way out of the photo
        lambda: not any(type(kept) is Watched for kept in gc.get_objects()),
        "the files to be let go",
    )
    assert all(future.done() for future in futures)


def run(program: str, **options: object) -> str:
    """Run a program that ends by itself; return all that it says."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + dedented(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        **options,
    )
    return done.stdout


PREAMBLE = f"""
import sys
sys.path.append({str(TESTS)!r})
from clipsearch.photos.decoder_pool import DecoderPool
from clipsearch.errors import ClipsearchError
from clipsearch.photos.preprocessing import Preprocessing
MISBEHAVING = {MISBEHAVING!r}
"""


def dedented(program: str) -> str:
    import textwrap

    return textwrap.dedent(program)


class started:
    """A program in a process group of its own, which is killed in the end."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + dedented(program)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self.process

    def __exit__(self, *_: object) -> None:
        with_group = self.process.pid
        os.killpg(with_group, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize("how", ["idle", "sleep", "hang"])
def test_a_program_that_ends_without_closing_ends_at_once(how: str, tmp_path: Path) -> None:
    program = f"""
        import time
        pool = DecoderPool(Preprocessing(40, 32), max_megapixels=100, workers=2, _entry=MISBEHAVING)
        pool.start()
        if {how!r} == "idle":
            pool.submit(b"").exception()
        else:
            future = pool.submit(b"misbehave: {how}")
            while not future.running():
                time.sleep(0.01)
        print(*(process._popen.pid for process in pool._processes), "end")
    """
    *pids, end = run(program).split()
    assert end == "end"
    assert pids and not any(running(int(pid)) for pid in pids)


@linux
@pytest.mark.parametrize("how", ["sleep", "hang"])
def test_a_killed_program_leaves_no_process_even_if_it_hangs(how: str) -> None:
    program = f"""
        import time
        pool = DecoderPool(Preprocessing(40, 32), max_megapixels=100, workers=3, _entry=MISBEHAVING)
        pool.start()
        future = pool.submit(b"misbehave: {how}")
        while not (future.running() and len(pool._processes) == 3):
            time.sleep(0.01)
        time.sleep(0.5)
        print(*(process._popen.pid for process in pool._processes), flush=True)
        time.sleep(600)
    """
    with started(program) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 3 and all(running(pid) for pid in pids)
        process.kill()
        wait_until(lambda: not any(running(pid) for pid in pids), "the decoders' end", 10)


@linux
def test_where_the_system_does_not_end_them_an_alarm_does() -> None:
    """The portable way: a hung process of a dead program ends some time after its limit."""
    program = """
        import time
        from clipsearch.photos import decoder_process
        entry = MISBEHAVING.replace(
            "misbehaving_decoder.main()",
            "from clipsearch.photos import decoder_process as d; "
            "d._die_with = lambda parent: None; "
            "d._ALARM_AFTER = 1; misbehaving_decoder.main()",
        )
        pool = DecoderPool(
            Preprocessing(40, 32), max_megapixels=100, workers=1, seconds=2, _entry=entry
        )
        pool.submit(b"").exception()
        future = pool.submit(b"misbehave: hang")
        time.sleep(0.5)
        print(*(process._popen.pid for process in pool._processes), flush=True)
        time.sleep(600)
    """
    with started(program) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        wait_until(lambda: not running(pid), "the decoder's end", 20)


def test_a_script_without_a_main_guard_in_a_folder_of_traps(tmp_path: Path, photo: bytes) -> None:
    """Modules in the working folder must not take the place of those that the program has."""
    (tmp_path / "photo").write_bytes(photo)
    traps = tmp_path / "traps"
    traps.mkdir()
    for name in ("json", "PIL", "clipsearch", "signal", "struct"):
        (traps / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    script = tmp_path / "script.py"
    script.write_text(
        "from clipsearch.photos.decoder_pool import DecoderPool\n"
        "from clipsearch.photos.preprocessing import Preprocessing\n"
        "pool = DecoderPool(Preprocessing(40, 32), max_megapixels=100, workers=2)\n"
        "pool.start()\n"
        f"data = open({str(tmp_path / 'photo')!r}, 'rb').read()\n"
        "print(pool.submit(data).result().pixels.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=traps, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("(40, 32, 3)\n", "")


def test_a_package_found_by_path_alone_is_found_by_the_processes(
    repository: Path, tmp_path: Path
) -> None:
    """Started isolated, with the folder of the package put into sys.path by the program itself."""
    program = (
        f"import sys; sys.path.insert(0, {str(repository)!r})\n"
        "from clipsearch.photos.decoder_pool import DecoderPool\n"
        "from clipsearch.photos.preprocessing import Preprocessing\n"
        "with DecoderPool(Preprocessing(40, 32), max_megapixels=100, workers=1) as pool:\n"
        "    print(pool.submit(b'').exception())\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("the file is empty\n", "")


def test_the_processes_load_neither_torch_nor_numpy() -> None:
    check = (
        "import sys; from clipsearch.photos import decoder_process, formats\n"
        "formats.decoders()\n"
        "heavy = {'torch', 'numpy', 'open_clip', 'torchvision', 'faiss', 'sqlite3', 'rich'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Settings


def test_settings_that_make_no_sense_are_refused() -> None:
    for seconds in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="seconds must be positive"):
            DecoderPool(SMALL, max_megapixels=LIMIT, seconds=seconds)


def test_the_memory_limit_grows_with_the_pictures_allowed() -> None:
    assert memory_for(1) == 1 << 30
    assert memory_for(1) <= memory_for(64) <= memory_for(256) <= memory_for(1e12)


def test_a_picture_over_the_megapixels_allowed_is_refused(pool_of: Pools) -> None:
    pool = pool_of(max_megapixels=0.5)
    data = b"P5 1000 1000 255\n" + bytes(10**6)
    assert reason(pool.submit(data)) == "too large: 1 megapixels, limit 0.5 (see --max-megapixels)"


@pytest.mark.slow
def test_a_heic_of_200_megapixels_fits_into_the_default_memory(pool_of: Pools) -> None:
    large = PIL.Image.new("RGB", (12240, 16320), (90, 120, 60))
    quickly = {"preset": "ultrafast"}
    data = saved(large, "HEIF", quality=10, tile_size=2048, enc_params=quickly)
    pool = pool_of(MODEL, max_megapixels=256, seconds=300)
    result = pool.submit(data).result(timeout=600)
    assert (result.metadata.width, result.metadata.height) == large.size
    assert np.abs(result.pixels.astype(int) - (90, 120, 60)).max() < 4
