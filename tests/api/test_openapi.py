"""The OpenAPI document is right: answers are as it says, examples fit, and whatever is sent gets no 500."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.views import VIEWS

PATHS = [f"/api/v1/atlases/{{atlas}}{route.path}" for route in VIEWS]
PATHS += ["/api/v1/health", "/api/v1/atlases", "/api/v1/atlases/{atlas}/neighbours"]
PATHS += [f"/api/v1/atlases/{{atlas}}{end}" for end in ("/pictures/{pack}/{place}", "/images/{image_id}/thumbnail")]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="session")
def openapi(service: httpx.Client) -> Any:
    base = str(service.base_url).rstrip("/")
    return schemathesis.openapi.from_url(f"{base}/api/v1/openapi.json")


@pytest.mark.parametrize("path", PATHS)
def test_whatever_is_sent_is_answered_as_documented(openapi: Any, path: str) -> None:
    asked = next((view for view in VIEWS if path == f"/api/v1/atlases/{{atlas}}{view.path}"), None)
    operation = openapi[path]["GET" if asked is None else asked.method]
    behind = asked is not None and asked.admit is not None  # no probe stands behind this service: 503, as documented

    @given(case=operation.as_strategy())
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def check(case: Any) -> None:
        if "atlas" in (case.path_parameters or {}):
            case.path_parameters["atlas"] = "plain"
        if "layer" in (case.path_parameters or {}):
            case.path_parameters["layer"] = "conv1"
        case.call_and_validate(checks=CHECKS[behind:])

    check()


def test_every_route_of_the_contract_is_there(service: httpx.Client) -> None:
    document = service.get("/api/v1/openapi.json").json()
    base = "/api/v1/atlases/{atlas}"
    assert {
        "/api/v1/health",
        "/api/v1/atlases",
        base,
        *(base + route.path for route in VIEWS),
        f"{base}/neighbours",
        f"{base}/pictures/{{pack}}/{{place}}",
        f"{base}/images/{{image_id}}/thumbnail",
        f"{base}/images/{{image_id}}/picture",
    } == set(document["paths"])
    sorts = next(
        p for p in document["paths"][f"{base}/layers/{{layer}}/neurons"]["get"]["parameters"] if p["name"] == "sort"
    )
    assert sorts["schema"]["enum"] == ["channel", "max", "mean", "activation_rate", "selectivity", "trust"]


def test_examples_fit_their_schemas(service: httpx.Client) -> None:
    document = service.get("/api/v1/openapi.json").json()
    checked = 0
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    if "example" in content and "schema" in content:
                        whole = {**content["schema"], "components": document["components"]}
                        Draft202012Validator(whole).validate(content["example"])
                        checked += 1
    assert checked > 60
