"""The virtual environments of the peers, so that their requirements, ours and each other's cannot get into the way.

In: files of exact versions in requirements/. Out: environments beside `.venv`, installed when a benchmark first needs
them.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alexnet.errors import UserError
from alexnet.paths import ROOT


@dataclass(frozen=True)
class Environment:
    """A virtual environment, the versions that belong into it, and those packages whose versions results name."""

    folder: Path
    pins: Path
    named: tuple[str, ...]

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def ensure(self) -> dict[str, str]:
        """Install what is not there; returns the versions of `named`. Raises `UserError` when pip cannot."""
        done, wanted = self.folder / "installed.txt", self.pins.read_text()
        if not done.exists() or done.read_text() != wanted:
            print(f"installing {self.pins.name} in {self.folder.name}", file=sys.stderr, flush=True)
            for command in (
                [sys.executable, "-m", "venv", str(self.folder)],
                [self.python, "-m", "pip", "install", "--quiet", "-r", str(self.pins)],
            ):
                if subprocess.run(command, check=False).returncode:
                    raise UserError(f"{self.pins.name} cannot be installed; see above, or measure without: --only ours")
            done.write_text(wanted)
        versions = dict(line.split("==") for line in wanted.splitlines() if "==" in line)
        return {f"peer {name}": versions[name] for name in self.named}


PEERS: Final = Environment(
    ROOT / ".venv-peers",
    ROOT / "requirements" / "peers.txt",
    ("fastapi", "uvicorn", "litserve", "ray", "mosec", "granian", "onnxruntime", "openvino"),
)
MLSERVER: Final = Environment(ROOT / ".venv-mlserver", ROOT / "requirements" / "mlserver.txt", ("mlserver",))
ALL: Final = (PEERS, MLSERVER)
