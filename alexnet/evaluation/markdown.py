"""Values to pieces of Markdown: tables, and numbers as they are printed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first `texts` columns are text and whose others are numbers."""
    lines = [header, [*["---"] * texts, *["---:"] * (len(header) - texts)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def curve_table(*columns: tuple[str, Floats, int]) -> str:
    """A row per epoch, counted from 1, of headings, curves [epochs] and their decimals; a curve may end early."""
    rows = [
        [str(row + 1), *(f"{curve[row]:.{digits}f}" if row < len(curve) else "" for _, curve, digits in columns)]
        for row in range(max(len(curve) for _, curve, _ in columns))
    ]
    return table(("epoch", *(heading for heading, _, _ in columns)), rows)


def items(lines: Sequence[str]) -> str:
    """A list with bullets."""
    return "\n".join(f"- {line}" for line in lines)


def enumerate_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for no words."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def number(value: float | None) -> str:
    """Whole numbers as they are, others with four decimals; empty for None."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def short_number(value: float | None) -> str:
    """As `number`, with three decimals where the fourth is 0: the published values have no more."""
    text = number(value)
    return text.removesuffix("0") if "." in text else text


def difference(ours: float, theirs: float) -> str:
    """`ours` less `theirs`, with its sign and four decimals."""
    return f"{round(ours - theirs, 4) + 0.0:+.4f}"  # the zero: no sign of what is too small to be seen
