"""What ships, for scanners: an SBOM (software bill of materials) in CycloneDX 1.6 JSON.

    python deploy/sbom.py requirements requirements/serving.txt requirements/cpu.txt sbom.cdx.json    the Bento
    python deploy/sbom.py environment /app/bin/python sbom.cdx.json              the image: what is installed there

In: pins, or an environment, which tells licences and dependencies too. Out: a file that names the packages and the
model with its SHA-256. Needs cyclonedx-bom, which does not ship, and nothing else of ours: the image's build runs it.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
FILE: Final = "sbom.cdx.json"
MODEL: Final = "models/alexnet/model.onnx"
_SPECIFICATION: Final = "1.6"


def main(arguments: Sequence[str]) -> int:
    """Write the SBOM of `arguments`: kind, sources and output; returns the exit code."""
    if len(arguments) < 3 or arguments[0] not in ("requirements", "environment"):
        print("sbom.py: give requirements FILE... OUTPUT, or environment PYTHON OUTPUT", file=sys.stderr)
        return 2
    kind, *sources, output = arguments
    try:
        Path(output).write_text(describe(kind, sources), encoding="utf-8")
    except OSError as error:
        print(f"sbom.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"sbom.py: {error.name} is missing: pip install -r requirements/sbom.txt", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"sbom.py: {' '.join(sources)} cannot be described: {error.stderr.strip()}", file=sys.stderr)
        return 1
    return 0


def describe(kind: str, sources: Sequence[str]) -> str:
    """The SBOM of the packages of `sources`, requirements files or one interpreter, and of the model; valid JSON.

    Raises `ImportError` without cyclonedx-bom, `subprocess.CalledProcessError` when that cannot read a source, and
    `OSError` for a requirements file that cannot be read.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", kind, "--spec-version", _SPECIFICATION]
    command += ["--output-reproducible", "--no-validate", "--pyproject", str(ROOT / "pyproject.toml")]
    pins = "\n".join(_without_hashes(source) for source in sources) if kind == "requirements" else None
    command += ["-"] if kind == "requirements" else sources
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, input=pins).stdout)
    found["components"].append(_model())
    found["dependencies"].append({"ref": MODEL})
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.from_version(_SPECIFICATION)).validate_str(text)
    assert wrong is None, wrong
    return text


def _without_hashes(path: str) -> str:
    """The pins of a file; checking its 2,000 hashes, of every file for every system, would take a minute."""
    return re.sub(r"\s*\\\n\s+--hash=\S+", "", Path(path).read_text())


def _model() -> dict[str, Any]:
    content = hashlib.sha256((ROOT / MODEL).read_bytes()).hexdigest()
    return {
        "bom-ref": MODEL,
        "type": "machine-learning-model",
        "name": MODEL,
        "description": "AlexNet on CIFAR-10 as ONNX, with preprocessing, weights, softmax and class names",
        "hashes": [{"alg": "SHA-256", "content": content}],
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
