"""What a run would take, from a few of its own steps; nothing is written."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.loader import Loader
from clipsearch.training.data.sources import notes_of, open_data
from clipsearch.training.learning.distributed import Processes, joined
from clipsearch.training.learning.gradient_cache import Encoding
from clipsearch.training.progress import duration
from clipsearch.training.run_config import OptimizationConfig, RunConfig
from clipsearch.training.run_folder import RunFolder
from clipsearch.training.trainer import Run, phases_of

_STEPS = 4  # timed at most, after one that warms up
_SECONDS = 30.0  # after which no further step is begun
_MOST_MEASURED = 5000  # photos of a larger validation source that are measured (validation.py)


@dataclass(frozen=True)
class Estimate:
    """What the steps tried say about the whole run."""

    config: RunConfig
    weights: int
    trained: int
    device: str
    image_size: int
    photos: int
    validation_photos: int
    steps: int  # of the whole run, the part at a higher resolution included
    final_steps: int  # of that part
    evaluations: int
    tried: int  # photos of a step that was tried
    seconds_a_photo: float
    waiting: float  # share of the time in which the model waited for photos
    seconds_a_look: float  # of a validation photo
    peak_bytes: int | None  # with steps of `tried` photos; None where it can't be known
    extra_bytes: int  # for the rest of the batch, worked out

    @property
    def seconds(self) -> float:
        """Return how long the steps take."""
        final = self.config.optimization.final_image_size
        larger = (final / self.image_size) ** 2 if final else 1.0
        steps = self.steps - self.final_steps + self.final_steps * larger
        return steps * self.config.optimization.batch_size * self.seconds_a_photo

    @property
    def seconds_of_evaluation(self) -> float:
        """Return how long the measurements on validation data take."""
        return self.evaluations * self.validation_photos * self.seconds_a_look

    def table(self) -> str:
        """Return it as lines for people."""
        wanted = self.config.optimization
        photos_a_second = 1 / self.seconds_a_photo
        memory = "unknown on this system"
        if self.peak_bytes is not None:
            memory = f"about {_size(self.peak_bytes + self.extra_bytes)}"
        measuring = "no validation data"
        if self.evaluations:
            measuring = (
                f"{self.evaluations} times {self.validation_photos:,} photos: "
                f"about {duration(self.seconds_of_evaluation)}"
            )
        checkpoints = 2 * 4 * self.weights + 2 * 4 * self.trained + 2 * self.weights
        rows = {
            "model": f"{self.config.model.name}, {self.image_size} pixels, "
            f"{_count(self.weights)} weights, {_count(self.trained)} of them trained",
            "device": f"{self.device}, {wanted.precision}",
            "data": f"{self.photos:,} photos",
            "a step": f"{wanted.batch_size:,} photos, "
            f"about {duration(wanted.batch_size * self.seconds_a_photo)} "
            f"({photos_a_second:.1f} photos/s, {100 * self.waiting:.0f} % of it waiting for them)",
            "the run": f"{self.steps:,} steps ({self.steps * wanted.batch_size / self.photos:.1f} "
            f"epochs): about {duration(self.seconds)}",
            "measuring": measuring,
            "memory": memory,
            "disk": f"about {_size(checkpoints)}",
        }
        return "\n".join(f"{name:<11}{text}" for name, text in rows.items())


def dry_run(config: RunConfig, *, say: Callable[[str], None]) -> Estimate:
    """Build the model, take a few steps on real photos and reckon up the rest.

    Raises what the run itself would raise before it starts. A batch that is cut up for gradient
    caching is tried with two parts of it.
    """
    wanted = config.optimization
    train, validation = open_data(config.data)
    for note in notes_of(train, validation):
        say(note)
    with joined(config.device) as processes:
        trial = replace(config, optimization=_trial(wanted, processes.count))
        folder = RunFolder(Path("dry-run"), trial, writes=False)
        run = Run(trial, folder, processes, lambda report: None)
        model = run.learner.model
        preprocessing = Preprocessing.from_json(json.dumps(model.design.preprocessing))
        loader = Loader(
            train,
            preprocessing=preprocessing,
            augmentation=config.augmentation,
            tokenize=model.design.tokenizer(),
            batch_size=wanted.batch_size,
            seed=config.data.seed,
            workers=0,
            rank=processes.rank,
            world_size=processes.count,
        )
        phases = phases_of(config, loader.batches_an_epoch)
        steps = phases[-1].end
        size = trial.optimization.batch_size
        say(f"trying up to {_STEPS} steps with {size} photos")
        seconds, waiting = _time_steps(run, processes)
        every = config.output.evaluate_every or loader.batches_an_epoch
        return Estimate(
            config=config,
            weights=sum(p.numel() for p in model.network.parameters()),
            trained=sum(p.numel() for p in model.network.parameters() if p.requires_grad),
            device=str(processes.device),
            image_size=preprocessing.image_size,
            photos=len(train),
            validation_photos=min(len(validation), _MOST_MEASURED) if validation else 0,
            steps=steps,
            final_steps=steps - phases[0].end,
            evaluations=-(-steps // every) if validation else 0,
            tried=size,
            seconds_a_photo=seconds / size,
            waiting=waiting,
            seconds_a_look=_time_look(run, processes),
            peak_bytes=_peak_memory(processes.device),
            extra_bytes=_extra_bytes(wanted, size, run, processes.count),
        )


def _trial(wanted: OptimizationConfig, processes: int) -> OptimizationConfig:
    """Return the settings of the steps tried: with gradient caching two parts of the batch."""
    if wanted.micro_batch is None or wanted.batch_size <= 2 * wanted.micro_batch * processes:
        return wanted
    return replace(wanted, batch_size=2 * wanted.micro_batch * processes)


def _time_steps(run: Run, processes: Processes) -> tuple[float, float]:
    """Return the seconds of a step, and the share of them in which it waited for photos."""
    began = time.monotonic()
    asked = began
    whole, waited, done = 0.0, 0.0, 0
    while True:
        for batch in run.batches_of_epoch():
            came = time.monotonic()
            run.learn(batch)
            _finish_work(processes.device)
            now = time.monotonic()
            if done or now - began > _SECONDS:  # the first one warms up, unless it takes too long
                whole += now - asked
                waited += came - asked
            done += 1
            if done > _STEPS or now - began > _SECONDS:
                steps = max(done - 1, 1)
                return whole / steps, waited / whole
            asked = time.monotonic()


@torch.no_grad()
def _time_look(run: Run, processes: Processes) -> float:
    """Return the seconds to encode a photo and a caption for a measurement."""
    model = run.learner.model
    model.network.eval()
    size = model.design.image_size
    pixels = torch.zeros(8, 3, size, size, device=processes.device)
    tokens = torch.from_numpy(model.design.tokenizer()(["a photo"] * 8)).to(processes.device)
    encoding = Encoding(model.network)
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        encoding.images(pixels)
        encoding.texts(tokens)
        _finish_work(processes.device)
        seconds.append(time.monotonic() - began)
    return min(seconds) / len(pixels)


def _finish_work(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_memory(device: torch.device) -> int | None:
    """Return the most memory that was in use: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _extra_bytes(wanted: OptimizationConfig, tried: int, run: Run, processes: int) -> int:
    """Return what a whole batch needs beyond the one tried: pixels, vectors, similarities."""
    if tried == wanted.batch_size:
        return 0
    share = wanted.batch_size // processes
    more = share - tried // processes
    design = run.learner.model.design
    pixels = 3 * 4 * more * 3 * design.image_size**2  # this batch, and the next made ahead
    vectors = 6 * 4 * wanted.batch_size * int(design.config["embed_dim"])
    similarities = 6 * 4 * share * wanted.batch_size  # both ways, with what keeps pairs apart
    return pixels + vectors + similarities


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 100_000 else f"{number:,}"


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
