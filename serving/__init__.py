"""From an HTTP request to an answer, without torch.

    connection
      |  protocol.py    valid HTTP, in time                                         (uvicorn)
      |  gate.py        key, routes, nothing else for BentoML                       (BentoML answers the probes)
      |  exchange.py    request id, one shape for every error, log, metrics
      |  routes.py      /classify, /classify_batch, /preview, /model, /metrics, /ui
      |  inputs.py      form (forms.py), raw body or JSON -> bytes of images, counted and timed as they come
      |  answering.py   each image decoded, then with those of others through the model, then named
      |  pool.py        so much work at once, so much waiting, so long
      v
    images.py           bytes -> pixels uint8 [height, width, 3]
      |  batches.py     what has piled up while the model was busy, in one run
      v
    classifier.py       pixels -> probabilities float32 [N, classes]                (ONNX Runtime)

`service.py` puts them together for `bentoml serve`; `settings.py` reads the environment, `errors.py` lists the error
codes, `openapi.py` and `documentation.py` describe the routes. Nothing here imports anything else of ours.
"""
