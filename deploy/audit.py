"""Known vulnerabilities of what is installed, by pip-audit: `make check` runs it (`python -m deploy.audit`).

In: the pins of requirements/ and PyPI's feed of vulnerabilities. Out: a line for each that is known, and exit code 1.
Where the feed cannot be had, one line says so and the code is 0, since checks must work without a network. That
includes mirrors that pass packages on without the feed: pip-audit alone would call them free of vulnerabilities.
"""

import json
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Final

from alexnet.paths import ROOT

# All that is ever installed.
PINS: Final = tuple(f"requirements/{name}.txt" for name in ("serving", "cpu", "gpu", "sbom", "train", "dev", "ray"))
# Vulnerabilities that do not concern us, by id, each with its reason. Whatever has a fixed version is upgraded instead.
ACCEPTED: Final[dict[str, str]] = {}
_SKIPPED: Final = "audit skipped"
_ANSWER_SECONDS: Final = 5
_ALL_SECONDS: Final = 300


def main() -> int:
    """Print the verdict; returns the exit code."""
    # One package first: where there is no feed, this is the end, after one question in place of a hundred.
    pins = (ROOT / "requirements/serving.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first.txt"
        first.write_text(next(line.split()[0] for line in pins if line.startswith("bentoml==")) + "\n")
        code, verdict = judge(*_ask(first))
    if not verdict.startswith(_SKIPPED):
        code, verdict = judge(*_ask(*(ROOT / name for name in PINS)))
    print(verdict, file=sys.stderr if code else sys.stdout)
    return code


def judge(report: str, errors: str) -> tuple[int, str]:
    """Exit code and what to print, for pip-audit's JSON and what it wrote to standard error."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        reason = (errors.strip().splitlines() or ["no answer"])[-1].removeprefix("ERROR:pip_audit._cli:")
        return 0, f"{_SKIPPED}: {textwrap.shorten(reason, 120, placeholder=' ...')}"
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return 0, f"{_SKIPPED}: this package index has no feed of vulnerabilities"
    found = [
        f"{package['name']} {package['version']}: {entry['id']}, {_remedy(entry['fix_versions'])}"
        for package in packages
        for entry in package.get("vulns", ())
        if entry["id"] not in ACCEPTED
    ]
    if found:
        return 1, "\n".join(["audit: known vulnerabilities", *found])
    missing = f"; not in the feed: {', '.join(unknown)}" if unknown else ""
    return 0, f"audit: no known vulnerability in {len(packages) - len(unknown)} packages{missing}"


def _remedy(versions: list[str]) -> str:
    if not versions:
        return "not fixed yet: see whether it concerns us, then say why in ACCEPTED of deploy/audit.py"
    return f"fixed in {', '.join(versions)}: set that in requirements/"


def _ask(*files: Path) -> tuple[str, str]:
    """What pip-audit prints about the pins in `files`, and its complaints. Nothing is resolved or installed."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", str(_ANSWER_SECONDS)]
    for file in files:
        command += ["--requirement", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ALL_SECONDS)
    except subprocess.TimeoutExpired:
        return "", f"no whole answer in {_ALL_SECONDS} seconds"
    return done.stdout, done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
