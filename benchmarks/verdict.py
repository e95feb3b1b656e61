"""Targets, and whether they are met: `PASS 12.3x stock BentoML (target 12x)`."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """A measured value, and the least, or with `at_most` the most, that is wanted of it. None was not measured."""

    what: str
    value: float | None
    against: str
    target: float
    at_most: bool = False
    unit: str = "x"

    @property
    def passed(self) -> bool:
        """Whether the target is met; what was not measured meets none."""
        if self.value is None:
            return False
        return self.value <= self.target if self.at_most else self.value >= self.target

    def line(self) -> str:
        """One line for people."""
        word = "at most" if self.at_most else "target"
        wanted = f"({word} {self.target:g}{self.unit}): {self.what}"
        if self.value is None:
            return f"SKIP not measured: {self.against} {wanted}"
        return f"{'PASS' if self.passed else 'FAIL'} {self.value_text()} {self.against} {wanted}"

    def value_text(self) -> str:
        """The value with its unit; empty where it was not measured."""
        return "" if self.value is None else f"{_show(self.value)}{self.unit}"


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """How many times `theirs` fits into `ours`; None where one of them is missing."""
    return ours / theirs if ours is not None and theirs else None


def lines(verdicts: Sequence[Verdict]) -> str:
    """A line for each."""
    return "\n".join(verdict.line() for verdict in verdicts)


def _show(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
