"""The one family of user-facing errors: what was given, where, what is allowed, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 12


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the member of `names` that `name` most likely meant, or None when none is close."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown}, … ({more} more)" if more > 0 else shown


class HarnessError(ValueError):
    """A mistake in the user's input; `str()` is the whole message, to be shown without a traceback.

    problem: one sentence that says what is wrong.
    where: where it was given, such as `suite.yaml:12 models[0].name` or a file.
    allowed: the values that would have been accepted; long lists are shortened.
    given: the value that was refused; with `allowed`, the nearest allowed name is suggested.
    hint: what to do next.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        allowed: Sequence[str] | None = None,
        given: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.allowed = None if allowed is None else tuple(allowed)
        self.given = given
        self.hint = hint
        super().__init__(self._message())

    def located(self, where: str) -> HarnessError:
        """The same mistake, found again at the place in the user's file that led to it."""
        inner = f" ({self.where})" if self.where else ""
        return HarnessError(
            f"{self.problem}{inner}",
            where=where,
            allowed=self.allowed,
            given=self.given,
            hint=self.hint,
        )

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException pickles by positional args alone, which would drop every keyword here.
        return _rebuild, (self.problem, self.where, self.allowed, self.given, self.hint)

    def _message(self) -> str:
        problem = self.problem.rstrip(" .")
        lines = [f"{self.where}: {problem}" if self.where else problem]
        if self.given is not None:
            lines.append(f"  given: {self.given!r}")
        if self.allowed:
            lines.append(f"  allowed: {_listed(self.allowed)}")
            close = nearest(self.given, self.allowed) if self.given is not None else None
            if close is not None and close != self.given:
                lines.append(f"  did you mean {close!r}?")
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


def reason_of(error: Exception) -> str:
    """An error on one line, for a status: ours whole, others by type and first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, HarnessError):
        return "; ".join(lines)
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _rebuild(
    problem: str,
    where: str | None,
    allowed: Sequence[str] | None,
    given: str | None,
    hint: str | None,
) -> HarnessError:
    return HarnessError(problem, where=where, allowed=allowed, given=given, hint=hint)
