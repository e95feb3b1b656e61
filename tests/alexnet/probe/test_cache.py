"""Embeddings are computed once for each file, whatever happens to the run or the folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from alexnet import datasets
from alexnet.datasets import ImageFolder
from alexnet.paths import ROOT
from alexnet.probe import embeddings


def part(root: Path) -> "datasets.image_folder.Part":
    found = datasets.open(root, side=71)
    assert isinstance(found, ImageFolder)
    return found.train


def test_only_what_is_missing_is_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        for file in sorted((ROOT / "tests" / "data" / "cifar10" / name).glob("*.png"))[:6]:
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "train" / name)
    first = embeddings.extract_cached(part(tmp_path), tmp_path)
    assert np.array_equal(first, embeddings.extract(part(tmp_path).images.pixels))
    capsys.readouterr()
    assert np.array_equal(embeddings.extract_cached(part(tmp_path), tmp_path), first)
    assert "all are cached" in capsys.readouterr().out

    (cache,) = tmp_path.glob(".features-71-2-*")
    cache.write_bytes(cache.read_bytes()[:-10])  # as when the run was killed
    shutil.copy(ROOT / "tests" / "data" / "cifar10" / "cat" / "00000.png", tmp_path / "train" / "cat" / "new.png")
    again = embeddings.extract_cached(part(tmp_path), tmp_path)
    assert "features of 1 images" in capsys.readouterr().out  # that of the row cut off: the new file is a copy
    assert len(again) == 13
    assert np.allclose(again, embeddings.extract(part(tmp_path).images.pixels), atol=1e-4)
