"""From CIFAR-10, or pictures of one's own, on disk to a measured model file.

    --data FOLDER
      |  dataset.py       which of the two it is             -> uint8 [N, 32, 32, 3], labels and classes (no torch)
      |    data.py        CIFAR-10: read, check, split
      |    pictures.py    folders of classes: list, split    (decoded.py: to pixels, once)
      v
    trainer.py            fit, validate, checkpoint          -> runs/<id>/ config.json metrics.csv best.pt last.pt
      |                                                      (background.py: a GPU's run does not wait for its files)
      |    epochs.py      one pass of either kind            (captured.py: on a GPU, a step as one CUDA graph)
      |    model.py       pixels in, logits out              (teacher.py: a small network that AlexNet can learn from)
      |    augment.py     pixels to changed pixels
      |    optimise.py    loss, rate, moving average
      |    processes.py   one process, or those that torchrun starts
      |    tracking.py    config.json and metrics.csv        -> events.py (TensorBoard), mlflow_runs.py (MLflow)
      v
    export.py             softmax, metadata, proven parity   -> model.onnx
      v
    compress.py           smaller, calibrated, measured      -> model.onnx (the steps' table: steps.py, speed.py)
      |    lean.py        cheap resize, factorised layers    (ranks.py: how small, tried on images)
      |    quantise.py    integers that no CPU overflows on
      |    head.py        temperature, score for unknowns    (unknown_score.py, unknowns.py, calibration.py)
      v
    evaluate.py           test split -> metrics.json         (through serving's classifier, without torch)
      |                   each image -> predictions.csv      (trust.py: calibration and unknown things)
      |                   corrupted images -> accuracy       (robustness.py, corruptions.py)
      |                   a service, torch -> differences    (parity.py)
      |                   two models -> which is better      (compare.py; intervals.py: how sure)
      |    card.py        model and metrics -> its README   (the words: card_page.py)
      v
    runs.py               files of both runs -> values
      v
    reproduction.py       ours against the published run     (f1.py: the F1 scores that people compute)
      v
    report.py             numbers -> pictures and pages      (the only import of matplotlib; the page's words are
                                                              in reproduction_page.py, riddles.py, other_seeds.py)

    sources.py            files, folders, globs, Parquet     -> parts, in an order that never changes (parquet.py)
      v
    predict.py            decode, classify                   -> rows (cluster.py: by Ray, on many machines)
      v
    predictions.py        rows -> predictions.csv            (batch.py is the command; bars.py, for the terminal)

`__main__.py` is the `alexnet` command, `arguments.py` its flags. Steps talk through files, and each imports only what
it needs. `doctor.py` tells what is here and whether it fits (the machine: machine.py).
"""
