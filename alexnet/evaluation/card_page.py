"""The text of a model's card.

In: the metadata of a model file, the content of its `metrics.json`, and what was computed of it. Out: Markdown with the
front matter that model hubs read (https://huggingface.co/docs/hub/model-cards).
"""

from collections.abc import Sequence
from typing import Any, Final

from alexnet.evaluation.intervals import wilson
from alexnet.evaluation.scores import Pair
from alexnet.inference.metadata import ModelMetadata
from alexnet.markdown import enumerate_words, items, megabytes, table

HARDEST: Final = "hardest.png"

_MEGA: Final = 1e6

_SEEN: Final = "cifar100-unknowns"
# Images of a copy of CIFAR-10 that were at hand only as JPEG, by the SHA-256 of the file that holds them.
_APPROXIMATE: Final = {
    "b7a8afae140bbcc0153185efcbd5d6b73bc11a49943288e23ba94c44c391c169": (
        *(722, 1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496),
        *(5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8551, 9254),
    )
}


def render(
    facts: ModelMetadata, metrics: dict[str, Any], pairs: Sequence[Pair], f1_interval: tuple[float, float]
) -> str:
    """The page, from the `facts` of the model file and its `metrics`."""
    parts = [
        _front_matter(facts, metrics),
        _head(facts, metrics),
        _numbers(metrics, f1_interval),
        _hardest(pairs),
        _calibration(metrics["calibration"]),
        _unknown(metrics["unknown"]),
        _corruptions(metrics.get("corruptions", {})),
        _parity(metrics.get("parity", {})),
        _recipe(facts),
        _compression(facts),
        _data(facts, metrics),
        _limits(facts, metrics),
        _provenance(facts, metrics),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: ModelMetadata, metrics: dict[str, Any]) -> str:
    own = facts.image_folder_sha256 is not None
    kind, name = ("other", "pictures of one's own") if own else ("cifar10", "CIFAR-10")
    datasets = "" if own else "datasets: [cifar10]\n"
    return (
        "---\npipeline_tag: image-classification\nlibrary_name: onnx\n"
        f"{datasets}model-index:\n"
        f"- name: {metrics['model']['name']}\n  results:\n"
        "  - task: {type: image-classification}\n"
        f"    dataset: {{type: {kind}, name: {name}, split: {metrics['data']['split']}}}\n"
        "    metrics:\n"
        f"    - {{type: accuracy, value: {metrics['accuracy']:.4f}}}\n"
        f"    - {{type: f1, name: macro F1, value: {metrics['macro_f1']:.4f}}}\n---"
    )


def _head(facts: ModelMetadata, metrics: dict[str, Any]) -> str:
    size, model = facts.input_size, metrics["model"]
    return (
        f"# {model['name']}\n\n"
        f"AlexNet (five convolutions, three linear layers) that sees an image of 32 by 32 pixels at {size} by {size} "
        f"and tells which of {len(metrics['classes'])} classes it shows: {enumerate_words(list(metrics['classes']))}. "
        f"One ONNX file of {megabytes(model['bytes'])} holds all of it, preprocessing and calibration too: "
        "`pixels` uint8 [N, 32, 32, 3] RGB in, `probabilities` float32 [N, classes] out"
        f"{', and `unknown_score` float32 [N]' if metrics['unknown'] else ''}.\n\n"
        "This page is generated (`alexnet card`) from the file and from [metrics.json](metrics.json).\n\n"
        "## Intended use\n\n"
        "To name the one thing in the middle of a small picture, where it is one of these classes: teaching, measuring "
        "tools and services, a start for a network of your own. Not for decisions about people, for safety, or for "
        "pictures whose subject may be anything.\n\n"
        "```console\nmake serve\ncurl -F image=@cat.jpg http://127.0.0.1:3000/classify\nalexnet predict cat.jpg\n```"
    )


def _numbers(metrics: dict[str, Any], f1_interval: tuple[float, float]) -> str:
    rows = []
    for name, row in metrics["classes"].items():
        low, high = wilson(round(row["accuracy"] * row["support"]), row["support"])
        interval = f"{low:.3f} to {high:.3f}"
        rows.append([name, f"{row['accuracy']:.3f}", interval, f"{row['precision']:.3f}", f"{row['f1']:.3f}"])
    (low, high), (f1_low, f1_high) = metrics["accuracy_interval_95"], f1_interval
    whole = [
        ["accuracy", f"{metrics['accuracy']:.4f}", f"{low:.4f} to {high:.4f}"],
        ["macro F1", f"{metrics['macro_f1']:.4f}", f"{f1_low:.4f} to {f1_high:.4f}"],
    ]
    return (
        f"## The numbers\n\nOf the {metrics['data']['images']:,} {metrics['data']['split']} images. "
        "Intervals are of 95 %: Wilson's for accuracies, the bootstrap's for macro F1.\n\n"
        f"{table(('', 'value', 'interval'), whole)}\n\n"
        f"{table(('class', 'accuracy', 'interval', 'precision', 'F1'), rows)}\n\n"
        "![Confusion matrix](confusion.png)"
    )


def _hardest(pairs: Sequence[Pair]) -> str:
    lines = [
        f"{pair.first} and {pair.second}: {pair.first_as_second} images of {pair.first} taken for {pair.second}, "
        f"{pair.second_as_first} the other way"
        for pair in pairs
    ]
    return (
        f"## The hardest pairs\n\n{items(lines)}\n\n"
        "The test images that were confused with the most confidence, a row for each pair; over each its class, the "
        "class it was taken for, that class's probability, and its number in the data, from 0:\n\n"
        f"![Confused]({HARDEST})"
    )


def _calibration(found: dict[str, Any]) -> str:
    now = 100 * found["expected_calibration_error"]
    text = (
        "## Calibration\n\n"
        f"The expected calibration error (15 bins of equal width) is {now:.2f} %, "
        f"the negative log likelihood {found['negative_log_likelihood']:.4f} nats"
    )
    if "before" in found:
        before = found["before"]
        text += (
            f"; without the temperature, which was fitted on validation images, they would be "
            f"{100 * before['expected_calibration_error']:.2f} % and {before['negative_log_likelihood']:.4f}"
        )
    if found.get("temperature_slope"):
        text += (
            f". The temperature of an image is {found['temperature']:.3f} times the power "
            f"{found['temperature_slope']:.3f} of the entropy of its probabilities, as a share of the highest entropy"
        )
    return f"{text}.\n\n![Reliability diagram](reliability.png)"


def _unknown(found: dict[str, Any]) -> str:
    if not found:
        return ""
    text = (
        "## Unknown things\n\n"
        "An image whose `unknown_score` exceeds the `unknown_threshold` of the file's metadata is probably none of the "
        "classes; the threshold keeps 95 % of the validation images. "
        f"Of the test images, {100 * found['share_of_these_images']:.1f} % are called unknown."
    )
    if "against" not in found:
        return text
    rows = [
        [
            name,
            f"{row['images']:,}",
            f"{row['auroc']:.3f}",
            f"{row['false_positive_rate_at_95']:.3f}",
            f"{row['called_unknown']:.3f}",
        ]
        for name, row in found["against"].items()
    ]
    header = ("images of none of the classes", "images", "AUROC", "pass where 95 % of the known pass", "called unknown")
    text = (
        f"{text}\n\n{table(header, rows)}\n\nThe score was fitted to images that were made up of held-out ones, to "
        "noise and to flat images; its threshold to the validation images."
    )
    if _SEEN in found["against"]:
        text += f" While the kinds of score to choose from were settled, their AUROC on {_SEEN} had been seen: it may "
        text += "flatter a little."
    return text


def _corruptions(found: dict[str, Any]) -> str:
    if not found:
        return ""
    severities = list(found["mean_of_severity"])
    rows = [
        [name.replace("_", " "), *(f"{row[severity]['accuracy']:.3f}" for severity in severities)]
        for name, row in found["kinds"].items()
    ]
    rows.append(["mean", *(f"{found['mean_of_severity'][severity]:.3f}" for severity in severities)])
    header = ("corruption", *(f"severity {severity}" for severity in severities))
    return (
        f"## Corrupted pictures\n\nAccuracy on {found['images']:,} test images under the fifteen common corruptions "
        f"(https://arxiv.org/abs/1903.12261; strengths: {found['strengths']}); without any it is "
        f"{found['without']['accuracy']:.3f}, the mean of all {found['mean']:.3f}.\n\n{table(header, rows)}"
    )


def _parity(found: dict[str, Any]) -> str:
    names = {"http": "over HTTP from the service", "torch": "from torch, with the run's float32 checkpoint"}
    lines = [
        f"{names[name]}: {row['classes_that_differ']:,} of {row['images']:,} images get another class, the largest "
        f"difference of a probability is {row['largest_probability_difference']:.2g}"
        for name, row in found.items()
    ]
    return f"## The same answers elsewhere\n\n{items(lines)}" if lines else ""


def _recipe(facts: ModelMetadata) -> str:
    settings, row = facts.settings, facts.validation
    assert settings is not None
    assert row is not None
    rows = [
        [f"`--{name.replace('_', '-')}`", ", ".join(value) if isinstance(value, tuple) else str(value)]
        for name, value in settings.model_dump().items()
    ]
    return (
        "## The recipe\n\n"
        f"Weights of epoch {row.epoch} of {settings.epochs}: validation accuracy {row.validation_accuracy:.4f}. "
        f"The settings of `alexnet train`:\n\n{table(('flag', 'value'), rows, texts=2)}"
    )


def _compression(facts: ModelMetadata) -> str:
    found, environment = facts.compression, facts.compressed_with
    if found is None or environment is None:
        return ""
    rows = [
        [
            step.name,
            f"{step.bytes / _MEGA:.2f}",
            *("" if value is None else f"{value:.4f}" for value in (step.accuracy, step.macro_f1)),
            *(f"{step.latency_ms[size]:.2f}" for size in (1, 32)),
        ]
        for step in found.steps
    ]
    header = ("step", "MB", "accuracy", "macro F1", "ms at batch 1", "ms at batch 32")
    return (
        "## From the run to the file\n\n"
        f"`alexnet compress --rank {found.rank_asked or 'auto'} --fine-tune-steps {found.fine_tune_steps} "
        f"--precision {facts.precision}`, measured on the {found.validation_images:,} validation images; the "
        f"times were taken beside each other on {environment['cpu']}:\n\n{table(header, rows)}"
    )


def _data(facts: ModelMetadata, metrics: dict[str, Any]) -> str:
    settings = facts.settings
    assert settings is not None
    if facts.image_folder_sha256 is not None:
        return (
            f"## Data\n\nPictures of one's own, {settings.validation_images:,} of the training part held out for "
            f"choosing; their SHA-256 as decoded is `{facts.image_folder_sha256}`."
        )
    text = (
        "## Data\n\n"
        "[CIFAR-10](https://www.cs.toronto.edu/~kriz/cifar.html) (A. Krizhevsky, 2009): 50,000 training images, of "
        f"which {settings.validation_images:,} were held out for choosing, and 10,000 test images. "
    )
    if settings.init.endswith(".pt"):
        text += f"All layers start from those of another run, `{settings.init}`. "
    elif settings.init != "none":
        text += "The convolutions start from AlexNet's ImageNet weights, the linear layers fresh. "
    for name, sha256 in metrics["data"]["sha256"].items():
        if numbers := _APPROXIMATE.get(sha256):
            text += (
                f"{len(numbers)} images of this copy of {name} are decoded from JPEG and not the original pixels: "
                f"numbers {enumerate_words([str(number) for number in numbers])}, counted from 0. They can move the "
                f"accuracy by {100 * len(numbers) / metrics['data']['images']:.2f} points at the most."
            )
    return text.strip()


def _limits(facts: ModelMetadata, metrics: dict[str, Any]) -> str:
    worst = min(metrics["classes"], key=lambda name: metrics["classes"][name]["accuracy"])
    lines = ["It sees 32 by 32 pixels, whatever the size of the picture: small things in a large picture are lost."]
    if facts.image_folder_sha256 is None:
        lines.append(
            "Its classes are those of CIFAR-10, from before 2009; there are no people, and no class for nothing."
        )
    lines += [
        f"`{worst}` is its weakest class: {metrics['classes'][worst]['accuracy']:.3f} of the images.",
        "Probabilities are calibrated on pictures like those it learnt from; on others they promise too much.",
        "Nobody has tried to protect it from pictures that are made to deceive it.",
    ]
    return f"## Limits\n\n{items(lines)}"


def _provenance(facts: ModelMetadata, metrics: dict[str, Any]) -> str:
    rows = [
        ["model.onnx, SHA-256", f"`{metrics['model']['sha256']}`"],
        ["checkpoint, SHA-256", f"`{facts.checkpoint_sha256}`"],
        ["run", str(facts.run)],
        *(
            [about, ", ".join(f"{name} {version}" for name, version in found.items())]
            for about, found in (("exported with", facts.exported_with), ("compressed with", facts.compressed_with))
            if found is not None
        ),
        ["measured with", ", ".join(f"{name} {version}" for name, version in metrics["environment"].items())],
    ]
    return f"## Provenance\n\n{table(('', ''), rows, texts=2)}"
