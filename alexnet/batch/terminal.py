"""Predictions for eyes: bars for a few images, a line each for many."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alexnet.batch.table import PredictionRow
from alexnet.errors import printable

_WIDTH = 32
_UNKNOWN = "unknown: probably none of these classes"


def show_bars(rows: Iterable[PredictionRow], console: Console) -> None:
    """Print the classes of each image, best first, each with its score as a bar; or why there are none."""
    for row in rows:
        title = Text(printable(row.place), "bold")
        if row.unknown:
            title.append(f"  {_UNKNOWN}", "yellow")
        console.print(title)
        if row.error is not None:
            console.print(Text(f"  {row.error} ({row.error.code})", "red"))
        elif row.best:
            console.print(_bars(row))


def show_lines(rows: Iterable[PredictionRow], console: Console) -> None:
    """Print the best class of each image and its score in one line; or why there is none."""
    for row in rows:
        line = Text(f"{printable(row.place)}  ")
        if row.error is not None:
            line.append(f"{row.error} ({row.error.code})", "red")
        else:
            label, score = row.best[0]
            line.append(f"{label} {100 * score:.1f} %")
            if row.unknown:
                line.append(f"  {_UNKNOWN}", "yellow")
        console.print(line, soft_wrap=True)


def _bars(row: PredictionRow) -> Table:
    table = Table.grid(padding=(0, 1))
    for label, score in row.best:
        percent = Text(f"{100 * score:.1f} %", justify="right")
        table.add_row("", Text(label), ProgressBar(total=1, completed=score, width=_WIDTH), percent)
    return table
