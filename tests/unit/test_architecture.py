"""The import rules of docs/design.md."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "engine": {"ray", "deployments", "cluster", "vllm"},
    "deployments/gateway": {"ray", "torch", "vllm", "transformers", "cluster"},
    "deployments/admin": {"ray", "torch", "vllm", "transformers", "cluster"},
    "deployments/gateway/routing": {"asyncio", "socket", "httpx", "httptools", "ray"},
    "deployments": {"vllm", "torch"},
    "cluster/autoscaler": {"asyncio", "deployments", "ray", "threading", "time"},
    "cluster": {"vllm", "torch", "starlette"},
    "monitoring": {"ray", "vllm", "torch", "cluster", "deployments", "engine"},
}
ALLOWED = {"cluster.autoscaler": "deployments/gateway", "cluster.checked_yaml": "deployments/gateway/recipes"}
RAY_IS_ALLOWED_IN = ("deployments", "cluster")


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not is_allowed(node.module, path):
            names.add(node.module.split(".")[0])
    return names


def is_allowed(module: str, path: Path) -> bool:
    """Pure packages that others may speak the language of."""
    return any(module.startswith(pure) and path.is_relative_to(ROOT / where) for pure, where in ALLOWED.items())


def test_each_folder_knows_nothing_of_what_is_not_its_affair() -> None:
    for folder, forbidden in FORBIDDEN.items():
        for path in (ROOT / folder).rglob("*.py"):
            found = imports(path) & forbidden
            if path.name == "convert_gguf.py":
                found -= {"torch", "transformers"}
            assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_nothing_imports_the_command_line() -> None:
    for path in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "deployments").rglob("*.py")]:
        assert "cluster.cli" not in path.read_text()


def test_the_guard_needs_only_the_standard_library() -> None:
    allowed = {"asyncio", "collections", "dataclasses", "functools", "hmac", "os", "re", "time", "typing", "urllib"}
    for name in ("guard", "request_feed", "computed", "internal_token"):
        assert imports(ROOT / "engine" / f"{name}.py") <= allowed | {"engine"}


def test_no_file_is_longer_than_one_sitting() -> None:
    for folder in ("engine", "deployments", "cluster", "monitoring"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 420, path
