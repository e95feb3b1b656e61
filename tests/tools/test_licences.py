"""docs/development/dependencies.md lists the licence of all that ships, as the installed packages declare them."""

import re
from email.message import Message
from importlib.metadata import PackageNotFoundError

import pytest

from alexnet.errors import UserError
from tools import licences

TEXT = licences.PAGE.read_text(encoding="utf-8")


def rows(text: str) -> dict[str, tuple[str, str]]:
    part = text.partition("<!-- licences -->")[2].partition("<!-- /licences -->")[0]
    found = re.findall(r"^\| (\S+) \| (.+) \| (.+) \|$", part, re.MULTILINE)
    return {name: (licence, images) for name, licence, images in found if name != "package"}


def test_the_table_is_up_to_date() -> None:
    assert licences.render(TEXT) == TEXT, "run: python -m tools.licences"


def test_everything_that_is_pinned_has_a_licence() -> None:
    found = rows(TEXT)
    assert {name: images for name, (_, images) in found.items()} == licences.shipped()
    assert [name for name, (licence, _) in found.items() if licence == "not declared"] == []
    assert found["onnxruntime-gpu"] == ("MIT License", "GPU")
    assert found["onnxruntime"] == ("MIT License", "CPU")
    assert found["starlette"] == ("BSD-3-Clause", "CPU, GPU")


def test_a_wrong_row_is_put_right_and_one_that_is_gone_leaves() -> None:
    wrong = TEXT.replace("| starlette | BSD-3-Clause |", "| starlette | WTFPL |")
    wrong = wrong.replace("<!-- /licences -->", "| zope | ZPL-2.1 | CPU, GPU |\n<!-- /licences -->")
    assert wrong != TEXT
    assert licences.render(wrong) == TEXT


def test_the_row_of_what_is_not_installed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Message:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(licences, "metadata", none)
    assert licences.render(TEXT) == TEXT
    with pytest.raises(UserError, match="starlette is not installed"):
        licences.render(re.sub(r"\| starlette .*\n", "", TEXT))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": "MIT", "License": "something"}, "MIT"),
        ({"License": "BSD-3-Clause", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),
        ({"License": "Copyright\nall the text", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT License"),
        ({}, "not declared"),
    ],
)
def test_the_most_exact_declaration_counts(fields: dict[str, str], expected: str) -> None:
    facts = Message()
    for name, value in fields.items():
        facts[name] = value
    assert licences.declared(facts) == expected  # type: ignore[arg-type]
