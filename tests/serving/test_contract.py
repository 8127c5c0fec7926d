"""Checks that the service keeps what /openapi.json says for any request; a few examples here, hundreds in the study."""

import pytest
from hypothesis import HealthCheck, given, settings

from harness.service_process import in_a_thread

schemathesis = pytest.importorskip("schemathesis")
EXAMPLES = 8
OPERATIONS = {
    *("POST /v1/predict", "POST /v1/predict/batch", "POST /v1/similar", "POST /v1/why"),
    *("POST /v1/activations/{layer}", "GET /v1/runs", "POST /v1/reload", "GET /healthz", "GET /readyz", "GET /metrics"),
}


@pytest.mark.filterwarnings("default")  # those of schemathesis
def test_every_operation_keeps_its_description(trained):
    import harness.openapi_bodies  # noqa: F401

    seen = set()
    with in_a_thread(trained / "run", index=trained / "photos") as running:
        schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        for operation in (result.ok() for result in schema.get_all_operations()):
            seen.add(operation.label)

            @given(case=operation.as_strategy())
            @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
            def keeps(case: "schemathesis.Case") -> None:
                case.call_and_validate()

            keeps()
        assert running.service.counters.value("alexnet_refused_total", code="E523") == 0
    assert seen == OPERATIONS
