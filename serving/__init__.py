"""From an HTTP request to a response, without torch.

    connection
      |  server/             processes; valid HTTP, in time                                (uvicorn)
      |  middleware.py       request context, CORS, errors, API keys
      |  api/router.py       our routes, and those that BentoML's clients expect
      |  app.py              /classify, /classify_batch, /preview, /model, /metrics, /ui
      |  body/               form, raw body or JSON -> bytes of images
      |  limits.py           how much work and memory at once
      v
    inference/
      |  pipeline.py         bytes -> pixels uint8 [height, width, 3] -> predictions
      |  batching.py         images of several requests in one run of the model
      v
    alexnet.inference        decoding, and the model: pixels -> probabilities float32 [N, classes]

`server/worker.py` puts them together, `service.py` describes them to BentoML; `settings.py` reads the environment,
`context.py` knows what became of a request, `metrics.py` counts and `logs.py` writes. `api/` describes routes, requests
and responses for clients.
"""
