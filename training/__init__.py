"""From CIFAR-10 on disk to a measured model file.

    CIFAR-10
      |  data.py          read, check, split                 -> uint8 [N, 32, 32, 3] and labels (numpy only)
      v
    trainer.py            fit, validate, checkpoint          -> runs/<id>/ config.json metrics.csv best.pt last.pt
      |    model.py       pixels in, logits out
      v
    export.py             softmax, metadata, proven parity   -> model.onnx
      v
    evaluate.py           test split -> metrics.json         (through serving's classifier, without torch)
      v
    report.py             numbers -> pictures and pages      (the only import of matplotlib)

`__main__.py` is the `alexnet` command. Steps talk through files, and each imports only what it needs.
"""
