"""The field's words are used everywhere: none of those that a reader would have to translate is left."""

import re
import subprocess

import pytest

from alexnet.paths import ROOT

# In two parts, so that this list is not found itself.
PRIVATE = (
    *("thousand" + " million", "piled" + " up", "step" + " size", "gone" + " on with", "the model" + " eats"),
    *(
        r"\bin " + r"hand\b",
        r"unknown " + r"things",
        r"whole " + r"number",
        r"images a " + r"second",
        r"no valid " + r"HTTP",
    ),
    *(r"\bpicture" + r"s?\b", r"Python's " + r"lock", r"\bgoes on " + r"on\b"),
)


def test_no_private_word_is_left() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile("|".join(PRIVATE), re.IGNORECASE)
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        if name.endswith((".png", ".onnx", ".parquet", ".csv")) or not (ROOT / name).is_file():
            continue
        lines = (ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if pattern.search(line)]
    assert found == []
