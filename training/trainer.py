"""One training run: the loop, and what happens around it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from clipsearch.errors import InvalidInput
from clipsearch.models.freed_memory import keep_freed_memory
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training import checkpoints
from clipsearch.training.checkpoints import Checkpoint
from clipsearch.training.data.loader import Batch, Loader
from clipsearch.training.data.sources import Source, notes_of, open_data, open_sources
from clipsearch.training.learning.distributed import Processes, joined
from clipsearch.training.learning.divergence import StuckWatch
from clipsearch.training.learning.learner import Learned, Learner
from clipsearch.training.learning.schedule import warmup_cosine
from clipsearch.training.output import mix_with_start, write_model_folder
from clipsearch.training.run_config import RunConfig
from clipsearch.training.run_folder import RunFolder
from clipsearch.training.towers.averaging import MixResult
from clipsearch.training.towers.low_rank import merged_state
from clipsearch.training.towers.models import TrainedModel, build_model, start_of
from clipsearch.training.validation import METRICS, Validation, score

_SECONDS_BETWEEN_DRAWINGS = 60  # one takes a second


@dataclass(frozen=True)
class StepReport:
    """How a run stands after a step."""

    step: int  # done, of `steps`
    steps: int
    epoch: float  # done
    loss: float
    logit_scale: float
    learning_rate: float
    gradient_norm: float
    samples_per_second: float  # of late, over all processes
    seconds_left: float
    skipped: int  # samples that could not be learned from, so far
    validation: Mapping[str, float] | None = None  # validation.METRICS, where just measured
    warning: str | None = None  # lines for the user


@dataclass(frozen=True)
class RunResult:
    """What came out of a run."""

    folder: Path
    finished: bool  # False: stopped before its last step; it can be resumed
    step: int
    steps: int
    seconds: float  # of this part of the run
    skipped: Mapping[str, int]  # samples, by reason
    best_step: int | None = None  # whose weights are the output; None: those of the last step
    validation: Mapping[str, float] = field(default_factory=dict)  # of the output, if finished
    mix: MixResult | None = None  # of WiSE-FT
    dtype: str = "float16"  # of the output's weights


def train_run(
    config: RunConfig,
    folder: RunFolder,
    *,
    report: Callable[[StepReport], None],
    stop: Callable[[], bool],
) -> RunResult:
    """Train, from the folder's last checkpoint if it has one, and leave the model in the folder.

    `report` is called after each step. When `stop` says so, the run ends with a checkpoint after
    the step at hand. Under torchrun all processes call this; the first one writes and reports.
    Raises InvalidInput or a ModelError before the work starts, TrainingDiverged in it.
    """
    with joined(config.device) as processes:
        run = Run(config, folder, processes, report)
        run.resume()
        while run.step < run.steps:
            for batch in run.batches_of_epoch():
                run.learn(batch)
                if run.is_due(config.output.evaluate_every):
                    run.evaluate()
                run.tell()
                stopped = processes.any(stop())
                if stopped or run.is_due(config.output.checkpoint_every):
                    run.save()
                if stopped:
                    return run.finish()
        return run.finish()


@dataclass(frozen=True)
class Phase:
    """A part of the run with pictures of one size."""

    first_step: int
    end: int
    first_epoch: int
    image_size: int | None  # None: the model's own


def phases_of(config: RunConfig, batches_an_epoch: int) -> list[Phase]:
    """Return the parts of a run: the main one, and perhaps a last one at another resolution."""
    wanted = config.optimization
    end = wanted.steps or max(1, round(wanted.epochs * batches_an_epoch))
    phases = [Phase(0, end, 0, None)]
    if wanted.final_image_size is not None:
        last = end + max(1, round(wanted.final_epochs * batches_an_epoch))
        epoch = math.ceil(end / batches_an_epoch)
        phases.append(Phase(end, last, epoch, wanted.final_image_size))
    return phases


class Run:
    """The state of a run; `train_run` says in which order things happen."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        processes: Processes,
        report: Callable[[StepReport], None],
    ) -> None:
        """Open the data and build the model; raise InvalidInput or a ModelError."""
        self.config, self.folder, self.processes = config, folder, processes
        self._report = report
        self._metric = _checked_metric(config)
        self._clock = _Clock()
        self._train, self._held_out = open_data(config.data)
        self._kept = _kept_source(config, self._held_out)
        if processes.device.type == "cpu":
            keep_freed_memory()
        self._enter(self._built(None))
        self.learner = Learner(self._model, config, processes)
        self._notes = notes_of(self._train, self._held_out, self._kept)
        self._notes += [*(self._validation.notes if self._validation else ()), *self._model.notes]
        torch.manual_seed(config.seed + 1 + processes.rank)  # dropout differs between processes

        self.phases = phases_of(config, self.loader.batches_an_epoch)
        self.steps = self.phases[-1].end
        self.step = 0
        self.best: float | None = None
        self.best_step: int | None = None
        self._losses: list[float] = []  # since the last line of the log
        self._learned = Learned(0, 0, 0, 0)
        self._measured: dict[str, float] | None = None
        self._drawn = 0.0  # seconds after the beginning
        self._stuck = self._watch()

    def _watch(self) -> StuckWatch:
        wanted = self.config.optimization
        return StuckWatch(
            self.learner.objective.chance_loss(wanted.batch_size),
            patience=wanted.warmup_steps + max(50, min(300, self.steps // 5)),
            formula="ln(batch)" if self.config.objective.loss == "softmax" else "",
        )

    def _built(self, image_size: int | None) -> TrainedModel:
        if image_size is None:
            torch.manual_seed(self.config.seed)  # the same weights in every process
            return build_model(self.config.model, self.config.objective)
        model = replace(self.config.model, image_size=image_size)
        return build_model(model, self.config.objective)

    def _enter(self, model: TrainedModel) -> None:
        """Take a model, and data of its size."""
        config = self.config
        self._model = model
        self._tokenize = model.design.tokenizer()
        self._preprocessing = Preprocessing.from_json(json.dumps(model.design.preprocessing))
        self.loader = Loader(
            self._train,
            preprocessing=self._preprocessing,
            augmentation=config.augmentation,
            tokenize=self._tokenize,
            batch_size=config.optimization.batch_size,
            seed=config.data.seed,
            workers=config.data.workers,
            rank=self.processes.rank,
            world_size=self.processes.count,
        )
        self._validation: Validation | None = None
        if self._held_out is not None and self.processes.is_first:
            self._validation = self._validation_of(self._held_out)

    def _validation_of(self, source: Source) -> Validation:
        workers = self.config.data.workers
        return Validation(source, self._preprocessing, self._tokenize, workers=workers)

    def _phase_of(self, step: int) -> Phase:
        """Return the phase of a step, counted from 0."""
        return next(phase for phase in reversed(self.phases) if step >= phase.first_step)

    def batches_of_epoch(self) -> Iterator[Batch]:
        """Yield what is left of the epoch, at most to the end of its phase."""
        phase = self._phase_of(self.step)
        if phase.image_size is not None and self._model.design.image_size != phase.image_size:
            self._enter(self._built(phase.image_size))
            self.learner = self.learner.grown(self._model)
        epoch, first = self._epoch_and_batch()
        self._clock.start()
        with closing(self.loader.epoch(epoch, first_batch=first)) as batches:
            for batch in batches:
                yield batch
                if self.step == phase.end:
                    return

    def _epoch_and_batch(self) -> tuple[int, int]:
        """Return epoch and batch of the next step, each from 0."""
        phase = self._phase_of(self.step)
        epochs, batch = divmod(self.step - phase.first_step, self.loader.batches_an_epoch)
        return phase.first_epoch + epochs, batch

    def learn(self, batch: Batch) -> None:
        """Take one step."""
        wanted = self.config.optimization
        share = warmup_cosine(self.step, steps=self.steps, warmup=wanted.warmup_steps)
        self._learned = self.learner.learn(batch, step=self.step + 1, share=share)
        self.step += 1
        self._losses.append(self._learned.loss)
        self._clock.tick()

    def is_due(self, every: int | None) -> bool:
        """Say whether it is time for what is done every so many steps; None is once an epoch."""
        phase = self._phase_of(self.step - 1)
        since = self.step - phase.first_step
        return since % (every or self.loader.batches_an_epoch) == 0 or self.step == phase.end

    def evaluate(self) -> None:
        """Measure on validation, if there is any, and keep the best weights."""
        with self._clock.stopped():
            if self._validation is not None:
                with self.learner.output_weights():
                    self._measured = self._measure(self.folder.sample_path(self.step))
                    self._keep_if_best(score(self._measured, self._metric))
            self.processes.wait()

    def _measure(self, sheet: Path | None = None) -> dict[str, float]:
        assert self._validation is not None
        return self._validation.measure(
            self.learner.network,
            self.learner.objective,
            batch_size=self.config.optimization.batch_size,
            device=self.processes.device,
            sheet=sheet,
        )

    def _keep_if_best(self, value: float) -> None:
        """Keep the weights that the network has now if none before scored as high.

        Those of the final phase are the model that was asked for, whatever came before.
        """
        phase = self._phase_of(self.step - 1)
        of_this_phase = self.best_step is not None and self.best_step > phase.first_step
        if self.best is None or not of_this_phase or value > self.best:
            self.best, self.best_step = value, self.step
            state = {"network": merged_state(self.learner.network)}
            checkpoints.save(self._path(checkpoints.BEST), self._checkpoint(state))

    def tell(self) -> None:
        """Report the step; write a line of the log now and then, and whenever measured."""
        learned, validation = self._learned, self._measured
        self._measured = None
        epoch, batch = self._epoch_and_batch()
        warnings = [*self._notes, self._stuck.warning(learned.loss)]
        self._notes = []
        step = StepReport(
            step=self.step,
            steps=self.steps,
            epoch=epoch + batch / self.loader.batches_an_epoch,
            loss=learned.loss,
            logit_scale=learned.logit_scale,
            learning_rate=learned.learning_rate,
            gradient_norm=learned.gradient_norm,
            samples_per_second=self.config.optimization.batch_size / self._clock.seconds_a_step,
            seconds_left=(self.steps - self.step) * self._clock.seconds_a_step,
            skipped=self.loader.skipped.total(),
            validation=validation,
            warning="\n".join(filter(None, warnings)) or None,
        )
        if validation or self.is_due(self.config.output.log_every):
            self._log(step)
        if self.processes.is_first:
            self._report(step)

    def _log(self, step: StepReport) -> None:
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        values = {"epoch": step.epoch, "loss": loss}
        names = ("logit_scale", "learning_rate", "gradient_norm", "samples_per_second")
        values |= {name: getattr(step, name) for name in names}
        wanted = self.config.optimization
        if wanted.text_learning_rate is not None:
            ratio = wanted.text_learning_rate / wanted.learning_rate
            values["text_learning_rate"] = step.learning_rate * ratio
        values |= {f"val/{name}": value for name, value in (step.validation or {}).items()}
        self.folder.log(step.step, values)

    def save(self) -> None:
        """Write the checkpoint to go on from, after the log of its steps."""
        with self._clock.stopped():
            random = self.processes.all_of(checkpoints.random_state())
            if self.processes.is_first:
                self.folder.flush()
                checkpoint = self._checkpoint({**self.learner.state(), "random": random})
                checkpoints.save(self._path(checkpoints.LAST), checkpoint)
                self._draw_now_and_then()
            self.processes.wait()

    def _draw_now_and_then(self) -> None:
        if self._clock.seconds() - self._drawn > _SECONDS_BETWEEN_DRAWINGS:
            self._drawn = self._clock.seconds()
            self.folder.draw_curves()

    def _path(self, name: str) -> Path:
        return self.folder.checkpoints / name

    def _checkpoint(self, state: dict[str, Any]) -> Checkpoint:
        return Checkpoint(
            step=self.step,
            settings=checkpoints.settings_of(self.config),
            batches_an_epoch=self.loader.batches_an_epoch,
            best=self.best,
            best_step=self.best_step,
            losses=list(self._losses),
            state=state,
        )

    def resume(self) -> None:
        """Go on from the folder's last checkpoint, if it has one; raise InvalidInput."""
        path = self._path(checkpoints.LAST)
        if not path.exists():
            self.folder.cut_after(0)
            return
        saved = checkpoints.load(path)
        checkpoints.check_fits(
            saved, path, self.config, self.loader.batches_an_epoch, self.processes.count
        )
        self.step, self.best, self.best_step = saved.step, saved.best, saved.best_step
        self._losses = list(saved.losses)
        size = self._phase_of(saved.step - 1).image_size
        if size is not None:
            self._enter(self._built(size))
            self.learner = Learner(self._model, self.config, self.processes)
        try:
            self.learner.restore(saved.state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise InvalidInput(f"the checkpoint {path} does not fit this model") from error
        checkpoints.restore_random_state(saved.state["random"][self.processes.rank])
        self.folder.cut_after(saved.step)

    def finish(self) -> RunResult:
        """Leave the model in the folder: the best weights, or their mixture with the start."""
        result = RunResult(
            folder=self.folder.path,
            finished=self.step == self.steps,
            step=self.step,
            steps=self.steps,
            seconds=self._clock.seconds(),
            skipped=dict(self.loader.skipped),
        )
        if self.processes.is_first:
            result = self._with_output(result)
            self.folder.flush()
            self.folder.draw_curves()
        self.processes.wait()
        return result

    def _with_output(self, result: RunResult) -> RunResult:
        best_step, state = self._best_weights()
        result = replace(result, best_step=best_step)
        # From here on with plain weights: low-rank changes are merged.
        self.learner.network = self._model.design.network().to(self.processes.device)
        if self.config.output.wise_ft and result.finished:
            mix = self._mix(state)
            state, result = mix.state, replace(result, mix=mix)
        self.learner.network.load_state_dict(state)
        if self._validation is not None and result.finished:
            result = replace(result, validation=self._measure())
        dtype = write_model_folder(self._model.design, state, self.folder.path)
        return replace(result, dtype=dtype)

    def _best_weights(self) -> tuple[int | None, dict[str, torch.Tensor]]:
        """Return the best weights of this phase and their step; None and the last without any."""
        first_step = self._phase_of(self.step - 1).first_step
        path = self._path(checkpoints.BEST)
        if self.best_step is not None and self.best_step > first_step and path.exists():
            saved = checkpoints.load(path)
            return saved.step, saved.state["network"]
        with self.learner.output_weights():
            merged = merged_state(self.learner.network)
            return None, {name: tensor.cpu().clone() for name, tensor in merged.items()}

    def _mix(self, tuned: dict[str, torch.Tensor]) -> MixResult:
        _, start = start_of(self.config.model, self.config.objective)
        if start is None or self._validation is None:
            raise InvalidInput("output.wise_ft needs weights to start from and validation data")
        kept = None if self._kept is None else self._validation_of(self._kept)
        return mix_with_start(
            self.learner,
            start,
            tuned,
            measure=lambda: score(self._measure(), self._metric),
            kept=kept,
            most_loss=self.config.output.wise_ft_loss,
        )


def _checked_metric(config: RunConfig) -> str:
    name = config.output.metric.removeprefix("val/")
    if name not in METRICS:
        raise InvalidInput(f"output.metric must be one of {', '.join(METRICS)}, not {name!r}")
    return name


def _kept_source(config: RunConfig, held_out: Source | None) -> Source | None:
    """Open the data that a mixture may not forget; raise InvalidInput where none can be chosen."""
    if config.output.wise_ft and (held_out is None or config.model.scratch):
        raise InvalidInput("output.wise_ft needs weights to start from and validation data")
    return open_sources(config.output.wise_ft_keep) if config.output.wise_ft_keep else None


class _Clock:
    """How long steps take, of late, without what happens between them."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.seconds_a_step = 0.0

    def start(self) -> None:
        """Count the next step from now."""
        self._last = time.monotonic()

    def tick(self) -> None:
        """Note the end of a step."""
        now = time.monotonic()
        seconds = max(now - self._last, 1e-9)
        self._last = now
        mean = self.seconds_a_step
        self.seconds_a_step = 0.9 * mean + 0.1 * seconds if mean else seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out what happens in the context."""
        began = time.monotonic()
        yield
        self._last += time.monotonic() - began

    def seconds(self) -> float:
        """Return how long it is since the clock was made."""
        return time.monotonic() - self._began
