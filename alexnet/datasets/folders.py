"""What lies in the folders of an image folder: its parts, its classes, its files; none is decoded.

Hidden files and folders are passed over in silence, and so are those that NAS systems, archives and file systems leave.
"""

import itertools
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from alexnet import files
from alexnet.errors import UserError
from alexnet.inference.formats import SUFFIXES

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"

_PART_NAMES: Final = {
    TRAIN: (TRAIN, "training"),
    VALIDATION: (VALIDATION, "val", "valid", "dev"),
    TEST: (TEST, "testing"),
}
# Of Synology, QNAP, macOS archives, ext4 and Windows; in lower case.
_IGNORED: Final = frozenset(
    {
        "@eadir",
        "#recycle",
        "#snapshot",
        "@recycle",
        "__macosx",
        "lost+found",
        "$recycle.bin",
        "system volume information",
        "thumbs.db",
        "desktop.ini",
    }
)
_LOOKED_AT: Final = 10_000  # files that are looked at to find an image: `--data` may name a whole disk


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data."""
    return name.startswith(".") or name.lower() in _IGNORED


def visible(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """What lies in `folder` and is not ignored, by name."""
    with os.scandir(folder) as found:
        return sorted((item for item in found if not is_ignored(item.name)), key=lambda item: item.name)


def walk(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """All but folders, in `folder` and below, by name. Links to folders are not followed: they can lead round."""
    levels = [iter(visible(folder))]
    while levels:
        for item in levels[-1]:
            if item.is_dir(follow_symlinks=False):
                levels.append(iter(visible(item)))
                break
            yield item
        else:
            levels.pop()


def find_parts(root: Path) -> dict[str, Path] | None:
    """The folders of the parts of an image folder, by `TRAIN`, `VALIDATION` and `TEST`; none where the folders in
    `root` are the classes; None where `root` is not an image folder.

    Raises `UserError` where a part is there under two names.
    """
    found = {item.name.lower(): Path(item) for item in visible(root) if item.is_dir()}
    parts: dict[str, Path] = {}
    for part, names in _PART_NAMES.items():
        there = [found[name] for name in names if name in found]
        if len(there) > 1:
            raise UserError(f"{root} has {there[0].name}/ and {there[1].name}/", f"keep one of them as {part}/")
        if there:
            parts[part] = there[0]
    if TRAIN in parts or TEST in parts:
        return parts
    return {} if sum(map(has_image, found.values())) > 1 else None


def class_folders(folder: Path) -> dict[str, Path]:
    """The folders in `folder`, or links to some, by their names, sorted. Names are composed (NFC): macOS takes letters
    and accents apart.

    Raises `UserError` where `folder` is absent, and on two folders of one name, or a name that cannot be printed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", f"put the images of each class into {folder}/<class>/")
    found: dict[str, Path] = {}
    for item in visible(folder):
        if item.is_dir():
            name = unicodedata.normalize("NFC", item.name)
            if name in found or not name.isprintable():
                raise UserError(
                    f"{item.path!r}: cannot name a class (it cannot be printed, or another folder has this name)",
                    "rename the folder",
                )
            found[name] = Path(item)
    return dict(sorted(found.items()))


def has_image(folder: Path) -> bool:
    """Whether one of the first files in `folder` or below is named like an image."""
    found = itertools.islice(walk(folder), _LOOKED_AT)
    return any(item.name.lower().endswith(SUFFIXES) and item.is_file() for item in found)


def check_classes(folder: Path, names: Sequence[str]) -> None:
    """Raise `UserError` where `folder` has a class that is not among `names`."""
    foreign = sorted(class_folders(folder).keys() - set(names))
    if foreign:
        raise UserError(
            f"{folder} has the class {foreign[0]}, which is not among those trained on ({', '.join(names)}): "
            f"rename or remove it, or add it to {TRAIN}/ and train"
        )


def count_same(these: Sequence[Path], those: Sequence[Path]) -> int:
    """How many of `these` files are, byte for byte, one of `those`; only files of equal size are opened."""
    sizes = [{path: path.stat().st_size for path in some if path.is_file()} for some in (these, those)]
    common = set(sizes[0].values()) & set(sizes[1].values())
    ours, theirs = ([_digest(path) for path, size in some.items() if size in common] for some in sizes)
    known = set(theirs) - {None}
    return sum(digest in known for digest in ours)


def _digest(path: Path) -> str | None:
    try:
        return files.sha256(path)
    except OSError:  # left out and named where it is decoded
        return None
