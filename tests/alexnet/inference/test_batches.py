"""The batch loop: every image once, in order, whatever the batch size."""

from pathlib import Path

import numpy as np
import pytest

from alexnet.inference import batches
from alexnet.inference.classifier import Classifier
from tests.models import write_model

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_every_image_is_given_once_and_in_order(batch_size: int, sizes: list[int]) -> None:
    given = batches.map_batches(lambda batch: batch, PIXELS, batch_size)
    assert [len(batch) for batch in given] == sizes
    assert np.array_equal(np.concatenate(given), PIXELS)


@pytest.mark.parametrize("detects_ood", [True, False])
def test_predictions_do_not_depend_on_the_batch_size(tmp_path: Path, detects_ood: bool) -> None:
    classifier = Classifier(write_model(tmp_path / "model.onnx", detects_ood=detects_ood))
    whole, parts = classifier.run(PIXELS), batches.predict(classifier, PIXELS, 3)
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-6)
    if not detects_ood:
        assert parts.ood_score is None
        assert parts.is_ood is None
        return
    assert parts.ood_score is not None
    assert parts.is_ood is not None
    assert whole.ood_score is not None
    assert whole.is_ood is not None
    np.testing.assert_allclose(parts.ood_score, whole.ood_score, atol=1e-6)
    assert parts.is_ood.tolist() == whole.is_ood.tolist()


def test_the_progress_bar_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    batches.map_batches(len, PIXELS, 3, description=None)
    assert capsys.readouterr().err == ""
