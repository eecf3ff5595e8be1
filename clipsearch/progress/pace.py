"""How fast a run is, and how long it still takes, once that can be said."""

from __future__ import annotations

_APART = 0.5  # seconds between two marks: what a batch holds is reported within less


class Pace:
    """The pace from the end of the first batch on; before the second ends there is none."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None  # when, and at which file
        self._last: tuple[float, int] | None = None

    def note(self, done: int, now: float) -> None:
        """Take note of how many files are done at a time, in seconds."""
        if self._first is None or self._last is None:
            self._first = self._last = (now, done)
        elif done > self._last[1] and now - self._last[0] >= _APART:
            self._last = (now, done)

    @property
    def speed(self) -> float | None:
        """Files a second; None while unknown."""
        if self._first is None or self._last is None or self._first == self._last:
            return None
        (began, at), (now, done) = self._first, self._last
        return (done - at) / (now - began)

    def left(self, done: int, total: int) -> str:
        """Return how long the rest takes, in words; nothing while that is unknown."""
        if not self.speed or not total:
            return ""
        seconds = (total - done) / self.speed
        return f"{f'{seconds:.0f} s' if seconds < 99.5 else time_in_words(seconds)} left"


def time_in_words(seconds: float) -> str:
    """Return a length of time for people: 0.1 s, 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
