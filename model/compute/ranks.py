"""The processes that work on one thing together: who this one is among them, and what they agree on.

Numbers that decide what happens next go through the CPU (gloo), so that no GPU waits for them. One process is the same
code with nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Ranks:
    """This process among all of them.

    Attributes:
        rank: 0 to size - 1; 0 is the one that writes and reports.
        size: number of processes.
        local: number of this process on its machine, which picks its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Sums over all processes, in float64."""
        return self._reduced(values, torch.float64, torch.distributed.ReduceOp.SUM)

    def largest(self, *values: int) -> list[int]:
        """The largest of each value over all processes."""
        return self._reduced(values, torch.int64, torch.distributed.ReduceOp.MAX)

    def of_first(self, value: Any) -> Any:
        """What the first process has, on all of them."""
        box = [value]
        if self.size > 1:
            torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """What each process has, in their order, on all of them."""
        every = [value] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(every, value)
        return every

    def _reduced(self, values: tuple[Any, ...], dtype: torch.dtype, how: Any) -> list[Any]:
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=dtype)
        torch.distributed.all_reduce(tensor, op=how)
        return tensor.tolist()


#: One process, that shares with nobody.
ALONE = Ranks()
