"""The paths of the service, each written once, and which of them need an API key."""

from typing import Final

CLASSIFY: Final = "/classify"
CLASSIFY_BATCH: Final = "/classify_batch"
PREVIEW: Final = "/preview"
EXPLAIN: Final = "/explain"
MODEL: Final = "/model"
METRICS: Final = "/metrics"
READY: Final = "/readyz"
OPENAPI: Final = "/docs.json"
DOCS: Final = "/docs"
PAGE: Final = "/ui"
PAGE_FILES: Final = "/ui/"
CARD: Final = "/ui/card.md"
SAMPLES: Final = "/ui/samples/"
ROOT: Final = "/"

# Of the Open Inference Protocol; the model's own are below `V2_MODELS`.
V2: Final = "/v2"
V2_LIVE: Final = "/v2/health/live"
V2_READY: Final = "/v2/health/ready"
V2_MODELS: Final = "/v2/models"

WORK: Final = frozenset({CLASSIFY, CLASSIFY_BATCH, EXPLAIN, PREVIEW})

# What BentoML's clients and probes expect.
LIVE: Final = "/livez"
HEALTH: Final = "/healthz"
SCHEMA: Final = "/schema.json"
STATIC_FILES: Final = "/static_content/"
BENTOML: Final = frozenset({LIVE, HEALTH, SCHEMA})

# Probes, and pages that hold nothing of anyone's.
_OPEN: Final = frozenset({V2_LIVE, V2_READY, ROOT, LIVE, HEALTH, READY, DOCS, OPENAPI, SCHEMA, PAGE})
_OPEN_FOLDERS: Final = (PAGE_FILES, STATIC_FILES)


def is_work(path: str) -> bool:
    """Whether requests to `path` keep the model busy."""
    return path in WORK or (path.startswith(V2_MODELS) and path.endswith("/infer"))


def needs_key(path: str, public_metrics: bool) -> bool:
    """Whether `path` needs an API key where the service has any; what does not exist needs one, too."""
    if path == METRICS:
        return not public_metrics
    return path not in _OPEN and not path.startswith(_OPEN_FOLDERS)
