"""What one model did on some photos, and the JSON that it is kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch import __version__
from clipsearch.errors import InvalidInput
from clipsearch.training.evaluation.ranks import (
    CONFIDENCE,
    Difference,
    Figure,
    Name,
    Ranks,
    differences,
    names_of,
    scores_of,
    with_intervals,
)
from clipsearch.training.evaluation.shifts import SEVERITY

if TYPE_CHECKING:
    from clipsearch.models.encoder import Encoder
    from clipsearch.training.evaluation.embedding import EmbeddedPhotos

_COMMON = ("resamples", "seed", "confidence")  # settings of every task
TASKS = ("retrieval", "zeroshot", "linear-probe", "few-shot", "fine-tune")


@dataclass(frozen=True)
class EvaluationSettings:
    """What every evaluation takes: how its data are named, and where its chance comes from."""

    data: tuple[str, ...] = ()  # as the result is to name it
    resamples: int = 1000
    seed: int = 0


USUAL = EvaluationSettings()


@dataclass(frozen=True)
class Measured:
    """Which model was measured on which photos, and how."""

    model: str
    fingerprint: str  # of its weights and preprocessing, as the search keeps it
    keys: tuple[str, ...]  # of the photos, in the order of the ranks
    digests: tuple[str, ...]  # of each photo with what was asked about it
    settings: EvaluationSettings
    skipped: tuple[str, ...] = ()  # a line for each photo that could not be used
    choices: Mapping[str, Any] = field(default_factory=dict)  # what else was chosen


def measured_on(
    encoder: Encoder, embedded: EmbeddedPhotos, settings: EvaluationSettings, **choices: Any
) -> Measured:
    """Return what there is to say of an evaluation beside its figures."""
    return Measured(
        model=encoder.identity.name,
        fingerprint=encoder.identity.fingerprint,
        keys=tuple(facts.key for facts in embedded.facts),
        digests=tuple(facts.digest for facts in embedded.facts),
        settings=settings,
        skipped=tuple(embedded.skipped),
        choices=choices,
    )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The ranks that one model reached in a task, and all that follows from them."""

    task: str  # one of TASKS
    measured: Measured
    ranks: Mapping[str, Ranks]  # by the way that was asked, say "text to image"
    shifted: Mapping[str, Mapping[str, Ranks]] = field(default_factory=dict)  # by shift
    details: Mapping[str, Any] = field(default_factory=dict)  # of the task, as JSON has them

    @property
    def photos(self) -> int:
        """Return how many photos were measured."""
        return len(self.measured.keys)

    @cached_property
    def figures(self) -> dict[Name, Figure]:
        """Return each metric by way and name, with its interval."""
        scores = scores_of(self.ranks, self.task)
        number, seed = self.measured.settings.resamples, self.measured.settings.seed
        figures = with_intervals(scores, self.photos, number=number, seed=seed)
        return dict(zip(names_of(list(self.ranks), self.task), figures, strict=True))

    @cached_property
    def drops(self) -> dict[str, dict[Name, Difference]]:
        """Return for each shift how the metrics (A) change under it (B)."""
        number, seed = self.measured.settings.resamples, self.measured.settings.seed
        return {
            shift: differences(self.ranks, ranks, self.task, number=number, seed=seed)
            for shift, ranks in self.shifted.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes, with the figures for other readers."""
        facts, settings = self.measured, self.measured.settings
        return {
            "task": self.task,
            "clipsearch": __version__,
            "model": {"name": facts.model, "fingerprint": facts.fingerprint},
            "data": {
                "named": list(settings.data),
                "photos": self.photos,
                "questions": {way: len(some.rank) for way, some in self.ranks.items()},
                "skipped": list(facts.skipped),
            },
            "settings": {
                "resamples": settings.resamples,
                "seed": settings.seed,
                "confidence": CONFIDENCE,
                **facts.choices,
            },
            "metrics": nested({name: f._asdict() for name, f in self.figures.items()}),
            "shifts": {
                shift: {"severity": SEVERITY[shift], "metrics": nested(_in_json(drops))}
                for shift, drops in self.drops.items()
            },
            **self.details,
            "per_photo": {
                "keys": list(facts.keys),
                "digests": list(facts.digests),
                "ranks": {way: some.by_photo() for way, some in self.ranks.items()},
            },
        }

    @classmethod
    def from_json(cls, content: Any) -> Evaluation:
        """Read what `to_json` gave, but for shifts and details; raises ValueError for others."""
        try:
            per_photo, settings = content["per_photo"], content["settings"]
            ranks = {way: Ranks.from_photos(rows) for way, rows in per_photo["ranks"].items()}
            measured = Measured(
                model=str(content["model"]["name"]),
                fingerprint=str(content["model"]["fingerprint"]),
                keys=tuple(map(str, per_photo["keys"])),
                digests=tuple(map(str, per_photo["digests"])),
                settings=EvaluationSettings(
                    tuple(map(str, content["data"]["named"])),
                    int(settings["resamples"]),
                    int(settings["seed"]),
                ),
                choices={name: settings[name] for name in settings if name not in _COMMON},
            )
            task = str(content["task"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        photos = {len(measured.keys), len(measured.digests), *(r.photos for r in ranks.values())}
        if task not in TASKS or not ranks or len(photos) != 1 or 0 in photos:
            raise ValueError("its parts don't fit together")
        return cls(task, measured, ranks)


def nested(values: Mapping[Name, Any]) -> dict[str, dict[str, Any]]:
    """Return values by way and metric as a dictionary of dictionaries."""
    found: dict[str, dict[str, Any]] = {}
    for (way, metric), value in values.items():
        found.setdefault(way, {})[metric] = value
    return found


def _in_json(drops: Mapping[Name, Difference]) -> dict[Name, dict[str, float]]:
    return {
        name: {"value": d.b, "drop": d.a - d.b, "low": -d.change.high, "high": -d.change.low}
        for name, d in drops.items()
    }


def read_evaluation(path: Path) -> Evaluation:
    """Read the JSON of an earlier evaluation; raises InvalidInput in one line."""
    try:
        return Evaluation.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{path} is no result with ranks of photos, as --json writes it ({error})"
        ) from error
