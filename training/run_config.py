"""`config.json` of a run: its settings, and what they were given and computed with. No torch."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from alexnet import files
from alexnet.errors import UserError

FILE: str = "config.json"


class RunConfig(BaseModel):
    """`settings` without paths; the digests are those of the files of initial weights and of teachers."""

    model_config = ConfigDict(frozen=True)

    run: str
    settings: dict[str, Any]
    init_sha256: str | None = None
    teacher_sha256: tuple[str, ...] = ()
    device: str
    precision: str
    environment: dict[str, str | int]

    def write(self, folder: Path) -> None:
        """Write the file into `folder`."""
        files.write_json(folder / FILE, self.model_dump(mode="json"))


def find(folder: Path) -> RunConfig | None:
    """The configuration of the run in `folder`; None where there is none, or that of a model (`config.json` too)."""
    try:
        return read(folder)
    except UserError:
        return None


def read(folder: Path) -> RunConfig:
    """The configuration of the run in `folder`. Raises `UserError` when it has none."""
    try:
        return RunConfig.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        reason = "damaged" if isinstance(error, ValidationError) else "missing"
        raise UserError(f"{folder / FILE}: {reason}; give the folder of a run") from error
