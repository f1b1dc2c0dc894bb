"""What the API server does to a RayService: drops nulls, puts defaults in, refuses what the CRD does not have."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

HERE = Path(__file__).parent / "kuberay"


@cache
def _strict() -> Draft7Validator:
    return Draft7Validator(json.loads((HERE / "rayservice.strict.schema.json").read_text()))


def problems(ray_service: dict[str, Any]) -> list[str]:
    validator, document = _strict(), copy.deepcopy(ray_service)
    _put_defaults(validator.schema, document)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(document)]


def _put_defaults(schema: dict[str, Any], given: Any) -> None:
    if isinstance(given, dict):
        properties = schema.get("properties") or {}
        for name in [n for n, value in given.items() if value is None and n in properties]:
            del given[name]
        for name, inner in properties.items():
            if name not in given and "default" in inner:
                given[name] = copy.deepcopy(inner["default"])
            if name in given:
                _put_defaults(inner, given[name])
    elif isinstance(given, list):
        for one in given:
            _put_defaults(schema.get("items", {}), one)
