"""Values to pieces of Markdown: tables, lists, numbers, and the generated sections of pages."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def replace_section(page: str, name: str, content: str) -> str:
    """`page` with `content` between its markers `<!-- name -->` and `<!-- /name -->`, each at the start of a line.

    `content` needs no newline at its end.
    """
    pattern = re.compile(rf"^(<!-- {re.escape(name)} -->\n).*?^(<!-- /{re.escape(name)} -->)", re.DOTALL | re.MULTILINE)
    page, found = pattern.subn(lambda match: f"{match[1]}{content.rstrip()}\n{match[2]}", page)
    assert found == 1, f"the page has {found} sections {name}, not one"
    return page


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


def megabytes(size: float) -> str:
    """`size` bytes in MB of 10^6 bytes, as every page and message prints them."""
    return f"{size / 1e6:,.2f} MB"


def number(value: float | None) -> str:
    """Integers as they are, others with four decimals; empty for None."""
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
