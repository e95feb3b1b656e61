"""schemathesis asks what the OpenAPI page allows and what it does not: every answer must be as the page says."""

from typing import Any

import pytest

from benchmarks.harness import Server
from serving.api import openapi
from serving.settings import Settings
from tests.models import CLASSES

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
checks = pytest.importorskip("schemathesis.specs.openapi.checks", reason="schemathesis is not installed")

PATHS = openapi.describe(len(CLASSES), Settings())["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]
# What is asked of each: what the page allows, and of those with parameters what it does not.
QUESTIONS = [
    (path, method, mode)
    for path, method in OPERATIONS
    for mode in ("positive", "negative")
    if method == "post" or mode == "positive"
]
# Random bytes are no image, so that what is allowed need not succeed; too many images are 413, which schemathesis does
# not count as a refusal.
UNFIT = [checks.positive_data_acceptance]
UNFIT_OF_BATCHES = [*UNFIT, checks.negative_data_rejection]
EXAMPLES = 60


@pytest.fixture(scope="module")
def described(service: Server) -> Any:
    return schemathesis.openapi.from_url(service.url + "/docs.json")


@pytest.mark.parametrize(("path", "method", "mode"), QUESTIONS)
def test_every_answer_is_one_that_the_page_describes(path: str, method: str, mode: str, described: Any) -> None:
    statuses: list[int] = []
    unfit = UNFIT_OF_BATCHES if path == "/classify_batch" else UNFIT

    @hypothesis.given(case=described[path][method].as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    @hypothesis.settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def ask(case: Any) -> None:
        response = case.call_and_validate(excluded_checks=unfit)
        statuses.append(response.status_code)
        assert response.headers["x-request-id"]

    ask()
    assert statuses
    assert max(statuses) < 500


def test_schemathesis_sees_every_operation(described: Any) -> None:
    operations = [result.ok() for result in described.get_all_operations()]
    assert {(operation.path, operation.method) for operation in operations} == set(OPERATIONS)
