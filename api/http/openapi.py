"""The OpenAPI document: what FastAPI says of the routes, with an example of every answer made of the fields' own."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api.http.errors import Problem


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = made["components"]["schemas"]
        schemas["Problem"] = TypeAdapter(Problem).json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operations in made["paths"].values():
            for operation in operations.values():
                _complete(operation, schemas)
        app.openapi_schema = made
    return app.openapi_schema


def _complete(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            if "json" in media_type and "schema" in content:
                content["example"] = example(content["schema"], schemas)
                if "Problem" in content["schema"].get("$ref", ""):
                    content["example"] = {**content["example"], "status": int(status), "title": response["description"]}


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value that fits a schema, of the examples that its fields give."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for several in ("anyOf", "allOf", "oneOf"):
        if several in schema:
            return example(schema[several][0], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [example(schema["items"], schemas)]
    if schema.get("type") == "object":
        return {name: example(each, schemas) for name, each in schema.get("properties", {}).items()}
    return {"string": "text", "integer": 0, "number": 0.5, "boolean": False}.get(schema.get("type", ""))
