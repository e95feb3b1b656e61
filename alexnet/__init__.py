"""AlexNet on CIFAR-10, or on photos of your own: without torch and without an HTTP server.

    from alexnet import Classifier

    classifier = Classifier.load()  # the shipped model, or the path of another
    prediction = classifier.predict("cat.jpg")
    prediction.label, prediction.score, prediction.is_ood
    classifier.embed(["cat.jpg", "dog.jpg"])  # features, float32 [2, D]

`Classifier.predict` and `embed` take paths, bytes, PIL images, uint8 arrays, and lists of them. A model of your own
photos, in a folder for each class, is made in a minute by the command

    alexnet fit photos  # runs/photos/model.onnx, for Classifier.load

The package, and how an image flows through it:

    bytes --inference.decode--> pixels --inference.classifier (ONNX)--> probabilities, OOD score
                                  ^                                        |             |
    a folder --datasets-----------+                      inference.prediction         evaluation
                                                                           |             |
                                                            label, score, is_ood    metrics.json, model card

    inference/    bytes to pixels to predictions, from one ONNX file
    datasets/     CIFAR-10 and image folders as arrays, labels and classes
    evaluation/   a model file and a split to metrics.json, plots and the model card
    probe/        `alexnet fit`: an image folder to a model file
    batch/        many images to CSV or Parquet
    cli.py        the command `alexnet`

`pixels` are uint8 [N, height, width, 3] RGB of the size that the model file states. `training` makes model files, and
`serving` answers over HTTP; both stand on this package.
"""

from typing import TYPE_CHECKING, Any, Final

from alexnet.errors import ImageError, UserError

if TYPE_CHECKING:
    from alexnet.inference.classifier import Classifier
    from alexnet.inference.prediction import Prediction

__version__: Final = "0.2.0"
__all__ = ["Classifier", "ImageError", "Prediction", "UserError", "__version__"]


def __getattr__(name: str) -> Any:
    """`Classifier` and `Prediction` when they are asked for: ONNX Runtime takes a third of a second to import."""
    if name == "Classifier":
        from alexnet.inference.classifier import Classifier

        return Classifier
    if name == "Prediction":
        from alexnet.inference.prediction import Prediction

        return Prediction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names as well, for `help(alexnet)`."""
    return sorted({*globals(), *__all__})
