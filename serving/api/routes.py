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

WORK: Final = frozenset({CLASSIFY, CLASSIFY_BATCH, EXPLAIN, PREVIEW})

# What BentoML's clients and probes expect.
LIVE: Final = "/livez"
HEALTH: Final = "/healthz"
SCHEMA: Final = "/schema.json"
STATIC_FILES: Final = "/static_content/"
BENTOML: Final = frozenset({LIVE, HEALTH, SCHEMA})

# Probes, and pages that hold nothing of anyone's.
_OPEN: Final = frozenset({ROOT, LIVE, HEALTH, READY, DOCS, OPENAPI, SCHEMA, PAGE})
_OPEN_FOLDERS: Final = (PAGE_FILES, STATIC_FILES)


def needs_key(path: str, public_metrics: bool) -> bool:
    """Whether `path` needs an API key where the service has any; what does not exist needs one, too."""
    if path == METRICS:
        return not public_metrics
    return path not in _OPEN and not path.startswith(_OPEN_FOLDERS)
