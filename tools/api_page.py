"""The tables of docs/guide/api.md: `python -m tools.api_page` writes them anew.

In: `Settings`, `CODES`, `DEFINITIONS` of the metrics and the page. Out: the page, with a table between each pair of
markers; the rest of it is written by hand.
"""

from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from alexnet.markdown import replace_section
from alexnet.paths import MODEL, ROOT
from serving.errors import CODES
from serving.metrics import DEFINITIONS
from serving.settings import PREFIX, Settings

PAGE: Final = ROOT / "docs" / "guide" / "api.md"
_ROOT: Final = MODEL.parent.parent.parent


def render(page: str) -> str:
    """The text of the page with the tables as the code has them."""
    for name, table in {"settings": settings_table(), "codes": codes_table(), "metrics": metrics_table()}.items():
        page = replace_section(page, name, table)
    return page


def settings_table() -> str:
    """A row for each setting: variable, default, range and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{PREFIX}{name.upper()}` | {_show(field.default)} | {_range(field)} | {field.description} |")
    return "\n".join(["| variable | default | range | meaning |", "|---|---|---|---|", *rows, ""])


def codes_table() -> str:
    """A row for each error code, in the order of their statuses."""
    rows = [
        f"| {code.status} | `{name}` | {code.meaning} |"
        for name, code in sorted(CODES.items(), key=lambda item: item[1].status)
    ]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows, ""])


def metrics_table() -> str:
    """A row for each metric of the service's own."""
    rows = []
    for metric in DEFINITIONS:
        name = metric.name + ("_total" if metric.kind == "counter" else "")
        rows.append(f"| `{name}` | {metric.kind} | {metric.documentation} |")
    return "\n".join(["| metric | type | meaning |", "|---|---|---|", *rows, ""])


def _show(value: Any) -> str:
    if isinstance(value, Path):
        value = value.relative_to(_ROOT).as_posix()
    if isinstance(value, bool):
        value = str(value).lower()
    return "" if value in (None, "", ()) else f"`{value}`"


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    return ", ".join(
        f"{word} {getattr(limit, name):,}"
        for limit in field.metadata
        for name, word in words.items()
        if hasattr(limit, name)
    )


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
