"""From a checkout to a container image: `make container` runs it with `cpu` or `gpu`.

In: the working tree and docker or podman. Out: a Bento in BentoML's store and an image under two names,
`alexnet-cifar10:<version>-<variant>` and `alexnet-cifar10:<version of the Bento>-<variant>`; the second never moves.
What follows the variant goes to `bentoml containerize`, such as `--opt network=host`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from alexnet import __version__, files
from alexnet.paths import MODEL, ROOT
from deploy import sbom

NAME: Final = "alexnet-cifar10"
VARIANTS: Final = ("cpu", "gpu")


def main(arguments: Sequence[str]) -> int:
    """Build the image of `arguments[0]`; returns the exit code."""
    if not arguments or arguments[0] not in VARIANTS:
        print(f"container.py: name a variant, {' or '.join(VARIANTS)}", file=sys.stderr)
        return 2
    backend = find_backend()
    if backend is None:
        print("container.py: neither docker nor podman can be used; install one of them", file=sys.stderr)
        return 1
    return build(arguments[0], backend, arguments[1:])


def find_backend() -> str | None:
    """`docker` when its daemon answers, else `podman`, else None."""
    for tool in ("docker", "podman"):
        if shutil.which(tool) and subprocess.run([tool, "info"], capture_output=True).returncode == 0:
            return tool
    return None


def build(variant: str, backend: str, options: Sequence[str]) -> int:
    """Pack the Bento, with its SBOM, and make the image; returns the exit code of the step that ends it."""
    described = ROOT / sbom.FILE
    try:
        pins = (str(ROOT / f"requirements/{name}.txt") for name in ("serving", variant))
        code = sbom.main(["requirements", *pins, str(described)])
        if code != 0:
            return code
        packed = subprocess.run(_bentoml("build", "--output", "tag"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    finally:
        described.unlink(missing_ok=True)  # a later `bentoml build` must not pack the SBOM of another model
    if packed.returncode != 0:
        return packed.returncode
    bento = packed.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    version = describe_checkout()["VERSION"]
    command = _bentoml("containerize", bento, "--backend", backend)
    for tag in (version, bento.split(":")[1]):
        command += ["--image-tag", f"{NAME}:{tag}-{variant}"]
    for name, value in {"VARIANT": variant, **describe_checkout()}.items():
        command += ["--opt", f"build-arg={name}={value}"]
    if backend == "podman":
        command += ["--opt", "format=docker"]  # the OCI format has no health check
    # BentoML 1.4 refuses the template of a Bento unless it lies below the current folder, and unpacks the Bento in the
    # folder for temporary files (https://github.com/bentoml/BentoML/issues/5566).
    return subprocess.run([*command, *options], cwd=tempfile.gettempdir()).returncode


def describe_checkout() -> dict[str, str]:
    """The facts that become the image's labels, by the name of their build argument."""
    return {"VERSION": __version__, "COMMIT": _commit(), "MODEL_SHA256": files.sha256(MODEL)}


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or "unknown"


def _bentoml(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bentoml", *arguments]


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    raise SystemExit(main(sys.argv[1:]))
