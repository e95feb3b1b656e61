"""CIFAR-10 from its authors' page: one archive, its checksum, its folder."""

import fcntl
import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.request
from io import BufferedRandom
from pathlib import Path
from typing import Final

from alexnet.datasets import cifar10
from alexnet.errors import UserError

_URL: Final = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5: Final = "c32a1d4ab5d03f1284b67883e8d87530"  # as the page says
_STALLED_SECONDS: Final = 60


def fetch_cifar10(root: Path) -> Path:
    """Make `root`/cifar-10-batches-bin/, and `root` where it is absent, unless that is done; returns the folder.

    Of several processes that ask at once one downloads and the others wait. Raises `UserError` when the archive cannot
    be had or is damaged.
    """
    folder = root / cifar10.FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".download.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
                    _unpack(Path(temporary))
                    (Path(temporary) / cifar10.FOLDER).rename(folder)
    except (OSError, http.client.HTTPException, tarfile.TarError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"could not download {_URL} ({reason}): get it by other means and unpack it in {root}"
        ) from error
    return folder


def _unpack(folder: Path) -> None:
    with (folder / "archive").open("wb+") as archive:
        with urllib.request.urlopen(_URL, timeout=_STALLED_SECONDS) as source:
            shutil.copyfileobj(source, archive)
        archive.seek(0)
        _check(archive)
        with tarfile.open(fileobj=archive) as tar:
            tar.extractall(folder, filter="data")


def _check(archive: BufferedRandom) -> None:
    found = hashlib.file_digest(archive, "md5").hexdigest()
    if found != _MD5:
        raise ValueError(f"MD5 {found}, not {_MD5}: corrupted")
    archive.seek(0)
