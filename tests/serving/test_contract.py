"""Checks that the service keeps what /openapi.json says for any request; a few examples here, hundreds in the study."""

import shutil

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from alexnet.evaluation.run_calibration import FILE
from harness.service_process import in_a_thread

schemathesis = pytest.importorskip("schemathesis")
EXAMPLES = 8
OPERATIONS = {
    *("POST /v1/predict", "POST /v1/predict/batch", "POST /v1/similar", "POST /v1/why"),
    *("POST /v1/activations/{layer}", "GET /v1/runs", "POST /v1/reload", "GET /healthz", "GET /readyz", "GET /metrics"),
}


def without_what_was_measured(trained, copy):
    """The run as of weights that were imported: nothing is known of how often they are right."""
    shutil.copytree(trained, copy)
    (copy / FILE).unlink()
    sums = copy / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if FILE not in line))
    return copy


@pytest.mark.filterwarnings("default")  # those of schemathesis
@pytest.mark.parametrize("measured", [True, False])
def test_every_operation_keeps_its_description(trained, tmp_path, measured):
    from harness.openapi_bodies import picture

    seen = set()
    run = trained / "run" if measured else without_what_was_measured(trained / "run", tmp_path / "run")
    with in_a_thread(run, index=trained / "photos") as running:
        schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        for operation in (result.ok() for result in schema.get_all_operations()):
            seen.add(operation.label)

            @given(case=operation.as_strategy())
            @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
            def keeps(case: "schemathesis.Case") -> None:
                case.call_and_validate()

            keeps()
        assert running.service.counters.value("alexnet_refused_total", code="E523") == 0
        asked = httpx.post(f"{running.url}/v1/predict?coverage=0.5", content=picture(9, 9, 0, "PNG"), trust_env=False)
        assert asked.status_code == (200 if measured else 409), asked.text
    assert seen == OPERATIONS
