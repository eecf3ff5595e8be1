"""Several processes that train one model, as torchrun starts them; or one, with the same code.

Each process encodes its own share of a batch and sees the vectors of all. It works out the loss
of its own rows, and the gradients by all vectors are added up, so that the sum over processes is
the gradient of the one big batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from clipsearch.errors import InvalidInput
from clipsearch.models.devices import choose_device

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Say whether this is the process that writes files and reports."""
        return self.rank == 0

    def rows(self, own: int) -> range:
        """Return which rows of gathered ones are this process's, each having `own`."""
        return range(self.rank * own, (self.rank + 1) * own)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the rows of all processes in the order of their ranks, without gradients.

        `tensor` is (n, ...), of any dtype, n the same in each process; the answer is
        (count * n, ...), of the same dtype.
        """
        if self.count == 1:
            return tensor.detach().clone()
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        distributed.all_gather(parts, tensor.detach().contiguous())
        return torch.cat(parts)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes of a tensor, which has one shape and dtype in all.

        The answer has that shape and dtype too. A process alone gets its own tensor back.
        """
        if self.count > 1:
            tensor = tensor.detach().clone()
            distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum of all processes' gradients in the place of each."""
        if self.count == 1:
            return
        # One after the other and without waiting: the network is busy while the next is started.
        work = [
            distributed.all_reduce(parameter.grad, async_op=True)
            for parameter in parameters
            if parameter.grad is not None
        ]
        for part in work:
            part.wait()

    def any(self, here: bool) -> bool:
        """Say whether it holds in any process."""
        if self.count == 1:
            return here
        return bool(self.sum(torch.tensor(float(here), device=self.device)) > 0)

    def all_of(self, thing: Thing) -> list[Thing]:
        """Return what each process holds, in order."""
        if self.count == 1:
            return [thing]
        things: list[Thing | None] = [None] * self.count
        distributed.all_gather_object(things, thing)
        return things  # type: ignore[return-value]

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined(device_name: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did; leave them at the end."""
    device = choose_device(device_name)
    count = _setting("WORLD_SIZE", 1)
    if count == 1:
        yield Processes(0, 1, device)
        return
    rank, local_rank = _setting("RANK", 0), _setting("LOCAL_RANK", 0)
    if device.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise InvalidInput(
                f"process {local_rank} has no GPU of its own: this machine has "
                f"{torch.cuda.device_count()}; start torchrun with --nproc-per-node of that"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    elif device.type == "mps":
        raise InvalidInput("several processes can't share one Apple GPU; start one")
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        distributed.destroy_process_group()


def _setting(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InvalidInput(f"{name} in the environment is {value!r}, no number (torchrun sets it)")
    return int(value)
