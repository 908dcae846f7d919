"""One rank of a fine-tuning that is watched, and may be killed: `stepping.py LOGS STEP ARGUMENTS...`.

It is `python -m lalm_utils ARGUMENTS...`. In LOGS it leaves the files that this rank has opened to write or renamed,
and, at the end, the gradient of each step. After step STEP the last rank kills itself (0: never).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from lalm_utils.__main__ import main
from lalm_utils.finetuning import lora
from lalm_utils.finetuning.training_step import TrainingStep

RANK, WORLD = os.environ.get("RANK", "0"), int(os.environ.get("WORLD_SIZE", "1"))


def record_gradients() -> list[torch.Tensor]:
    """The gradients of all steps from here on, before they are clipped."""
    gradients: list[torch.Tensor] = []
    compute = TrainingStep._mean_gradient

    def record(self, batches) -> float:
        loss = compute(self, batches)
        gradients.append(torch.cat([master.grad.flatten().clone() for master in self.masters]))
        return loss

    TrainingStep._mean_gradient = record
    return gradients


def log_writes(file: Path) -> None:
    """Log what this process writes from here on; what libraries write past Python's audit is not seen."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event: str, arguments: tuple) -> None:
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes or event in ("os.mkdir", "os.rename"):
            os.write(log, f"{event} {arguments[0]}\n".encode())

    sys.addaudithook(note)


if __name__ == "__main__":
    logs, last = Path(sys.argv[1]), int(sys.argv[2])
    gradients, train = record_gradients(), lora.train

    def kill(step) -> None:
        if step["step"] == last and int(RANK) == WORLD - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    lora.train = lambda *args, **options: train(*args, **options, on_step=kill)
    log_writes(logs / f"writes-{RANK}")
    code = main(sys.argv[3:])
    torch.save(gradients, logs / f"gradients-{RANK}.pt")
    sys.exit(code)
