"""The licences of everything that ships, as its packages declare them: a part of docs/development/dependencies.md.

    python -m tools.licences

In: requirements/serving.txt, cpu.txt and gpu.txt, and the metadata of the packages where they are installed. Out:
the page with the table between its markers replaced. The row of a package that is not installed here stays as it is.
"""

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from typing import Final

from packaging.requirements import Requirement

from alexnet import files
from alexnet.errors import UserError
from alexnet.markdown import replace_section
from alexnet.paths import ROOT

PAGE: Final = ROOT / "docs" / "development" / "dependencies.md"
_CPU, _GPU = "CPU", "GPU"
_IMAGE: Final = {"implementation_name": "cpython", "sys_platform": "linux", "platform_machine": "x86_64"}


def shipped() -> dict[str, str]:
    """The images (`CPU`, `GPU` or both) that each package is in, by its name as it is pinned."""
    images = {"serving.txt": f"{_CPU}, {_GPU}", "cpu.txt": _CPU, "gpu.txt": _GPU}
    return {name: variants for file, variants in images.items() for name in _pinned(file)}


def render(text: str) -> str:
    """`text` of the page with its table brought up to date.

    Raises `UserError` for a package that is neither installed here nor in the table.
    """
    old = dict(re.findall(r"^\| (\S+) \| (.+?) \|", text.partition("<!-- licences -->")[2], re.MULTILINE))
    rows = [
        f"| {name} | {_licence(name) or old.get(name) or _fail(name)} | {images} |"
        for name, images in sorted(shipped().items(), key=lambda item: item[0].lower())
    ]
    table = "\n".join(["| package | licence | image |", "|---|---|---|", *rows]) + "\n"
    return replace_section(text, "licences", table)


def declared(facts: PackageMetadata) -> str:
    """The licence that a package declares: an SPDX expression, else its words for it, else its classifier.

    https://packaging.python.org/en/latest/specifications/core-metadata/#license-expression
    """
    licences = facts.get_all("License") or ()
    words = next(iter(licences), "").strip()
    if "\n" in words:
        words = ""  # the whole text of a licence
    classifiers = [line.split(" :: ")[-1] for line in facts.get_all("Classifier") or () if line.startswith("License")]
    expressions = facts.get_all("License-Expression") or ()
    return next(iter(expressions), "") or words or ", ".join(classifiers) or "not declared"


def _pinned(name: str) -> list[str]:
    """The packages of a requirements file that CPython on Linux installs."""
    lines = re.findall(r"^(\w[^\\\n]*)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    needs = [Requirement(line) for line in lines]
    return [need.name for need in needs if need.marker is None or need.marker.evaluate(_IMAGE)]


def _licence(name: str) -> str | None:
    try:
        return declared(metadata(name))
    except PackageNotFoundError:
        return None


def _fail(name: str) -> str:
    raise UserError(f"{name} is not installed and not in the table yet: pip install it elsewhere, add to PYTHONPATH")


def main() -> int:
    """Write the page; returns the exit code."""
    try:
        text = render(PAGE.read_text(encoding="utf-8"))
    except UserError as error:
        print(f"licences: {error}", file=sys.stderr)
        return 1
    with files.replacing(PAGE) as partial:
        partial.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
