"""`alexnet doctor`: what is installed and configured, whether it fits together, and what to do where it does not.

In: this machine (machine.py), the settings in the environment, the data set, a model file and its `metrics.json`.
Out: a finding for each, as a table or as JSON. Reads only, needs no torch, and makes no connection.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alexnet import datasets, machine
from alexnet.datasets import Cifar10, ImageFolder, cifar10, folders
from alexnet.errors import UserError, printable
from alexnet.evaluation.metrics import FILE_NAME, Metrics
from alexnet.machine import Finding
from alexnet.markdown import megabytes

_IMAGES: Final = 10_000  # in each file of CIFAR-10
_COLOURS: Final = {"ok": "green", "note": "yellow", "problem": "bold red"}


def examine(model: Path, data_root: Path, runs: Path) -> list[Finding]:
    """All findings, in a few seconds."""
    return [
        *machine.look(),
        machine.scratch(),
        machine.disk(runs),
        environment_variables(),
        data_set(data_root),
        *model_file(model),
    ]


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether there is no problem; notes do not count."""
    return all(finding.status != "problem" for finding in findings)


def to_table(findings: Sequence[Finding]) -> Table:
    """A row for each finding."""
    table = Table("", "", show_edge=False)
    table.add_column("found", overflow="fold")  # the SHA-256 whole
    table.add_column("what to do", overflow="fold")
    for item in findings:
        status = Text(item.status, _COLOURS[item.status])
        subject, found, remedy = (Text(printable(text)) for text in (item.subject, item.found, item.remedy))
        table.add_row(subject, status, found, remedy)
    return table


def to_json(findings: Sequence[Finding]) -> str:
    """`{"healthy": bool, "findings": [{"subject", "status", "found", "remedy"}]}`."""
    rows = [dataclasses.asdict(finding) for finding in findings]
    return json.dumps({"healthy": is_healthy(findings), "findings": rows}, indent=2, ensure_ascii=False)


def show(findings: Sequence[Finding]) -> None:
    """Print the table, and how many problems there are."""
    console = Console(highlight=False)
    console.print(to_table(findings))
    problems = sum(finding.status == "problem" for finding in findings)
    console.print(f"\n{problems or 'no'} problem{'' if problems == 1 else 's'}")


def environment_variables() -> Finding:
    """The settings of the service."""
    try:
        from serving import settings
    except ImportError:
        return Finding("settings", "note", "the service is not installed", "pip install 'alexnet-cifar10[serve]'")
    try:
        given = settings.load().model_fields_set
    except UserError as error:
        return Finding("settings", "problem", str(error), "docs/guide/api.md lists what each may be")
    names = sorted(settings.PREFIX + field.upper() for field in given)
    return Finding("settings", "ok", ", ".join(names) if names else "all at their defaults")


def data_set(root: Path) -> Finding:
    """CIFAR-10 in `root`, by the sizes of its files; or an image folder, by the names in it."""
    subject = f"{root}/"
    try:
        data = datasets.open(root)
        if isinstance(data, ImageFolder):
            return _image_folder(subject, data)
        assert isinstance(data, Cifar10)
        return _cifar10(subject, data)
    except datasets.AbsentError as error:
        return Finding(subject, "note", error.problem, error.remedy)
    except UserError as error:
        return Finding(subject, "problem", error.problem, error.remedy)


def _cifar10(subject: str, data: Cifar10) -> Finding:
    names = (*cifar10.TRAIN_FILES, *cifar10.TEST_FILES)
    if data.folder.name == cifar10.PYTHON_FOLDER:
        names = tuple(Path(name).stem for name in names)
    sizes = {name: (data.folder / name).stat().st_size for name in names if (data.folder / name).is_file()}
    missing = [f"{name} is missing" for name in names if name not in sizes]
    if data.folder.name == cifar10.PYTHON_FOLDER and not missing:
        return Finding(subject, "ok", "all files of the Python version of CIFAR-10")
    record = cifar10.RECORD_BYTES
    damaged = [f"{name} has {size} bytes" for name, size in sizes.items() if size == 0 or size % record]
    if missing or damaged:
        remedy = f"delete {data.folder}: --download gets it again; a whole file has {_IMAGES * record:,} bytes"
        return Finding(subject, "problem", "; ".join(missing + damaged), remedy)
    images = sum(sizes.values()) // record
    if set(sizes.values()) != {_IMAGES * record}:
        return Finding(subject, "note", f"{images:,} images", f"CIFAR-10 has {_IMAGES * len(names):,}: is it a subset?")
    return Finding(subject, "ok", f"complete: {images:,} images")


def _image_folder(subject: str, data: ImageFolder) -> Finding:
    counts = ", ".join(f"{len(data.list_files(part)):,} in {part}/" for part in data.parts)
    if data.parts and folders.TRAIN not in data.parts:
        return Finding(subject, "note", f"images: {counts}", f"there is nothing to train on in {folders.TRAIN}/")
    found = f"images of {len(data.classes)} classes ({', '.join(data.classes)})"
    return Finding(subject, "ok", f"{found}: {counts}" if counts else f"{found}, to be split")


def model_file(path: Path) -> list[Finding]:
    """The model, where it computes, and what was measured on it."""
    try:
        from alexnet.inference.classifier import Classifier

        classifier = Classifier(path)
    except ImportError:
        return []  # said where ONNX Runtime is looked at
    except UserError as error:
        return [Finding("model", "problem", error.problem, error.remedy)]
    found = (
        f"{classifier.name}, {len(classifier.classes)} classes ({', '.join(classifier.classes)}), "
        f"{megabytes(path.stat().st_size)}, sha256 {classifier.sha256}"
    )
    findings = [Finding("model", "ok", f"{path}: {found}"), _measured(path, classifier.sha256)]
    if machine.NVIDIA.is_dir():
        try:
            Classifier(path, gpu="require")
            findings.append(Finding("GPU", "ok", "ONNX Runtime computes on it"))
        except UserError as error:
            findings.append(Finding("GPU", "problem", error.problem, error.remedy))
    return findings


def _measured(model: Path, sha256: str) -> Finding:
    path, again = model.with_name(FILE_NAME), f"measure it: alexnet evaluate {model}"
    if not path.exists():
        return Finding("accuracy", "note", f"no {path}", again)
    try:
        metrics = Metrics.read(model.parent, again)
    except UserError:
        return Finding("accuracy", "problem", f"{path} is damaged", again)
    if metrics.model.sha256 != sha256:
        return Finding("accuracy", "problem", f"{path} is of another model, sha256 {metrics.model.sha256}", again)
    return Finding("accuracy", "ok", f"{metrics.accuracy:.4f} on {metrics.data.images:,} images, of this file")
