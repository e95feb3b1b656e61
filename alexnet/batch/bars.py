"""Predictions for eyes: bars in the terminal, a block of lines for each image."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alexnet.batch.table import Row

_WIDTH = 32


def show(rows: Iterable[Row], console: Console) -> None:
    """Print the classes of each image, best first, each with its score as a bar; or why there are none."""
    for row in rows:
        place = row.shown_path if row.row is None else f"{row.shown_path} row {row.row}"
        title = Text(place, "bold")
        if row.unknown:
            title.append("  unknown: probably none of these classes", "yellow")
        console.print(title)
        if row.error is not None:
            console.print(Text(f"  {row.error} ({row.error.code})", "red"))
        elif row.best:
            console.print(_bars(row))


def _bars(row: Row) -> Table:
    table = Table.grid(padding=(0, 1))
    for label, score in row.best:
        share = Text(f"{100 * score:.1f} %", justify="right")
        table.add_row("", Text(label), ProgressBar(total=1, completed=score, width=_WIDTH), share)
    return table
