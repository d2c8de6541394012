"""Drift while serving: the last films of this process, which /metrics compares with the reference."""

from collections import OrderedDict

from mammo.serving.drift import Drift, DriftLimits, DriftReference, LoggedFilm, measure


class DriftMonitor:
    """The last `limits.window` films since the start, each once."""

    def __init__(self, reference: DriftReference, limits: DriftLimits):
        self.reference, self.limits = reference, limits
        self._films: OrderedDict[tuple[str, str], LoggedFilm] = OrderedDict()

    def add(self, film: LoggedFilm) -> None:
        """Remember a film, and forget the oldest where there are too many."""
        self._films.pop(film.key, None)
        self._films[film.key] = film
        if len(self._films) > self.limits.window:
            self._films.popitem(last=False)

    def measure(self) -> Drift | None:
        """Return the drift of the films; None before the first."""
        films = list(self._films.values())
        return measure(films, self.reference, self.limits) if films else None
