"""What a program may use of its machine is what the system grants it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch.machine import memory

PROGRAM = """
import os
from clipsearch.machine import cores
before = cores()
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(before, cores())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no such call on this system")
def test_only_the_cores_that_a_program_may_use_are_counted() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.split() == [str(len(os.sched_getaffinity(0))), "1"], done.stderr


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no such file on this system")
def test_the_memory_is_all_that_the_machine_has() -> None:
    line = Path("/proc/meminfo").read_text().splitlines()[0]  # MemTotal:   16384000 kB
    assert memory() == int(line.split()[1]) << 10
