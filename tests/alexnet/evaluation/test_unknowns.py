"""Images of unknown things: read in each format, made in each kind, and scored."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from PIL import Image

from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import calibration, ood, unknowns
from alexnet.evaluation.calibration import Temperature
from training.export import output_head


def test_an_array_is_read_as_it_is(tmp_path: Path, fixture_images: Images) -> None:
    np.save(tmp_path / "unknown.npy", fixture_images.pixels[:7])
    assert np.array_equal(unknowns.read(tmp_path / "unknown.npy"), fixture_images.pixels[:7])


def test_a_folder_is_read_in_order_and_every_size_shrunk(tmp_path: Path, fixture_images: Images) -> None:
    (tmp_path / "sub").mkdir()
    Image.fromarray(fixture_images.pixels[0]).save(tmp_path / "b.png")
    Image.fromarray(fixture_images.pixels[1]).save(tmp_path / "sub" / "c.webp", lossless=True)
    Image.new("RGB", (90, 50), (10, 200, 30)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    pixels = unknowns.read(tmp_path)
    assert pixels.shape == (3, 32, 32, 3)
    assert (pixels[0] == (10, 200, 30)).all()
    assert np.array_equal(pixels[1:], fixture_images.pixels[:2])


def test_sheets_hold_an_image_in_each_square_row_by_row(tmp_path: Path, fixture_images: Images) -> None:
    some = fixture_images.pixels[:12]
    for number, part in enumerate((some[:6], some[6:])):
        sheet = part.reshape(2, 3, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 96, 3)
        Image.fromarray(sheet).save(tmp_path / f"things-{number}.png")
    (tmp_path / "things.json").write_text(json.dumps({"count": 12}))
    assert np.array_equal(unknowns.read(tmp_path), some)


@pytest.mark.parametrize("name", ["absent", "text.npy", "shape.npy", "empty", "broken", "sheet"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "shape.npy", np.zeros((3, 32, 32), np.uint8))
    for folder in ("empty", "broken", "sheet"):
        (tmp_path / folder).mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (33, 32)).save(tmp_path / "sheet" / "a-0.png")
    (tmp_path / "sheet" / "a.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        unknowns.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_made_images_are_nothing_real_and_always_the_same(fixture_images: Images) -> None:
    made = unknowns.make(fixture_images.pixels, fixture_images.labels, 20, seed=3)
    again = unknowns.make(fixture_images.pixels, fixture_images.labels, 20, seed=3)
    real = {image.tobytes() for image in fixture_images.pixels}
    assert len(made) == 9
    for kind, pixels in made.items():
        assert pixels.shape == (20, 32, 32, 3)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, again[kind])
        assert sum(image.tobytes() in real for image in pixels) <= 2, kind  # a jigsaw can be put together by chance
    assert np.ptp(made["flat"], axis=(1, 2)).max() == 0


def test_a_jigsaw_keeps_its_pieces_and_two_in_one_are_of_two_classes() -> None:
    pixels = np.arange(2 * 32 * 32 * 3, dtype=np.uint32).reshape(2, 32, 32, 3) // 32 // 3 % 256
    pixels = pixels.astype(np.uint8)
    made = unknowns.make(pixels, np.array([0, 1]), 8, seed=0)
    for image in made["jigsaw of 4"]:
        assert any(np.array_equal(np.sort(image, None), np.sort(original, None)) for original in pixels)
    mixed = ((pixels[0].astype(int) + pixels[1]) // 2).astype(np.uint8)
    assert (made["two in one"] == mixed).all()


def _cloud(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of three classes as clouds in six dimensions, the logits that tell them apart, and the labels."""
    centres = 4 * np.eye(3, 6)
    labels = rng.integers(0, 3, count)
    codes = centres[labels] + rng.normal(size=(count, 6)) * np.array([1, 1, 1, 0.1, 0.1, 3])
    return (codes @ centres.T).astype(np.float32), codes.astype(np.float32), labels


def test_the_distance_is_that_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least squared Mahalanobis distance from a class, less that from all."""
    monkeypatch.setattr(ood, "_RIDGE", 0.0)
    _, codes, labels = _cloud(np.random.default_rng(0), 3000)
    distance = ood.fit_distance(codes, labels, 3)
    means = np.stack([codes[labels == c].mean(0) for c in range(3)])
    within = np.linalg.inv(np.cov((codes - means[labels]).T))
    whole = np.linalg.inv(np.cov(codes.T))
    expected = [
        min((x - m) @ within @ (x - m) for m in means) - (x - codes.mean(0)) @ whole @ (x - codes.mean(0))
        for x in codes[:50].astype(np.float64)
    ]
    np.testing.assert_allclose(distance(codes[:50]), expected, rtol=0.01, atol=0.02)


def test_the_choice_tells_apart_what_logits_alone_cannot() -> None:
    rng = np.random.default_rng(0)
    logits, codes, labels = _cloud(rng, 2000)
    distance = ood.fit_distance(codes, labels, 3)
    odd = codes[:500].copy()
    odd[:, 3] += 1.5  # no logit looks there, and known codes hardly ever leave zero
    score, area = ood.choose(distance, (logits, codes), {"odd": (logits[:500], odd)})
    assert score.slope_distance > 0
    assert area > 0.95
    assert score(logits, codes).mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("temperature", [Temperature(1.7), Temperature(1.3, 0.35)])
def test_the_graph_computes_temperature_and_score(temperature: Temperature) -> None:
    rng = np.random.default_rng(0)
    logits, codes, labels = _cloud(rng, 400)
    distance = ood.fit_distance(codes, labels, 3)
    score = ood.Score(distance, heat=2.0, slope_energy=3.0, slope_distance=0.25, offset=1.5)
    shapes = {"logits": ["N", 3], "embedding": ["N", 6]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    given = [helper.make_tensor_value_info(f"{v.name}_in", TensorProto.FLOAT, shapes[v.name]) for v in values]
    nodes = [helper.make_node("Identity", [f"{v.name}_in"], [v.name]) for v in values]
    body = helper.make_model(
        helper.make_graph(nodes, "body", given, values), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    model = output_head.attach(body, temperature, score)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities, scores = session.run(
        ["probabilities", "unknown_score"], {"logits_in": logits, "embedding_in": codes}
    )
    plain = calibration.softmax(logits)
    np.testing.assert_allclose(probabilities, calibration.heat(plain, temperature), atol=1e-5)
    np.testing.assert_allclose(scores, score(logits, codes), rtol=1e-3, atol=1e-3)
    assert scores.shape == (400,)
