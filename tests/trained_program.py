"""A program that trains in a folder, to be killed or to be one of several processes.

`python trained_program.py FOLDER RUN [PROCESSES]`: the settings are those of `tiny_config`, read
from FOLDER/config.toml. It writes RUN/alive after each step. With PROCESSES it becomes so many
that train together, each with its rank, as torchrun would start them.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path


def main() -> None:
    folder, path = Path(sys.argv[1]), Path(sys.argv[2])
    processes = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    import torch
    from tiny_training import PlainFolder, without_drawing

    from clipsearch.training.config_file import read_config
    from clipsearch.training.trainer import train_run

    torch.set_num_threads(1)
    rank = become_several(processes)
    config = read_config(folder / "config.toml")
    run = PlainFolder.create(path, config, writes=rank == 0)
    with without_drawing():
        train_run(
            config,
            run,
            report=lambda step: (path / "alive").write_text(str(step.step)) and None,
            stop=lambda: False,
        )
    run.close()
    if rank:
        os._exit(0)
    for _ in range(1, processes):
        _, status = os.wait()
        assert status == 0


def become_several(count: int) -> int:
    """Fork, before torch has worked, so that it is imported once; return this one's rank."""
    if count == 1:
        return 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    rank = next((rank for rank in range(1, count) if os.fork() == 0), 0)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return rank


if __name__ == "__main__":
    main()
