"""The architecture holds: who may import whom, and what a light import may load."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("models", "edge_agent", "cloud_hub", "firmware_sim", "demo")
MAY_IMPORT = {
    "models": set(),
    "edge_agent": {"models"},
    "cloud_hub": {"models"},
    "firmware_sim": {"models"},
    "demo": set(),
}
# Outside library -> where alone it may be imported (path prefixes).
ONLY_IN = {
    "tensorflow": ["cloud_hub/training/"],
    "sqlalchemy": ["cloud_hub/store/"],
    "alembic": ["cloud_hub/store/"],
    "fastapi": ["cloud_hub/api/"],
    "argon2": ["cloud_hub/accounts/passwords.py"],
    "joserfc": ["cloud_hub/accounts/single_sign_on.py"],
    "httpx": ["cloud_hub/client/", "cloud_hub/notify/", "cloud_hub/services/", "demo/"],
    "starlette": ["cloud_hub/api/"],
    "uvicorn": ["cloud_hub/api/"],
    "prometheus_client": ["cloud_hub/observing/"],
    "matplotlib": ["cloud_hub/report/"],
    "cyclonedx": ["cloud_hub/fleet/sbom.py"],
    "yaml": ["cloud_hub/fleet/role_readme.py"],
    "amqtt": ["cloud_hub/broker/"],
    "tuf": ["cloud_hub/trust/", "edge_agent/trust_worker.py", "edge_agent/conformance.py"],
    "securesystemslib": ["cloud_hub/trust/", "edge_agent/trust_worker.py"],
    "cryptography": ["cloud_hub/identity/", "cloud_hub/trust/", "edge_agent/identity_worker.py"],
    "paho": ["cloud_hub/transport.py", "edge_agent/transport.py", "firmware_sim/link.py"],
    "ai_edge_litert": ["cloud_hub/runtime.py", "edge_agent/runtime.py"],
    "typer": ["cloud_hub/cli/", "firmware_sim/cli/"],
    "rich": ["cloud_hub/cli/", "firmware_sim/cli/", "demo/"],
}
MODELS_MAY_USE = {"numpy", "msgspec"}
AGENT_MAY_USE = MODELS_MAY_USE | {"cryptography", "paho", "tuf", "securesystemslib", "ai_edge_litert", "tflite_runtime"}


@cache
def modules(package: str) -> list[tuple[str, set[str]]]:
    """Each file of a package, with the top-level names that it imports anywhere."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        names = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").split(".")[0])
        found.append((path.relative_to(ROOT).as_posix(), names))
    return found


@pytest.mark.parametrize("package", OURS)
def test_arrows_between_our_packages(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = {path: sorted((names & set(OURS)) - allowed) for path, names in modules(package)}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_outside_library_has_its_place(library: str) -> None:
    found = [path for package in OURS for path, names in modules(package) if library in names]
    assert found, f"nothing imports {library}: has the table become stale?"
    assert [p for p in found if not any(p.startswith(place) for place in ONLY_IN[library])] == []


@pytest.mark.parametrize(("package", "allowed"), [("models", MODELS_MAY_USE), ("edge_agent", AGENT_MAY_USE)])
def test_light_packages_use_few_libraries(package: str, allowed: set[str]) -> None:
    known = allowed | set(OURS) | set(sys.stdlib_module_names)
    used = {name for _, names in modules(package) for name in names}
    assert used - known == set()


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "edge_agent.agent",
            ["tensorflow", "scipy", "fastapi", "pandas", "tuf", "cryptography", "ai_edge_litert", "typer", "rich"],
        ),
        ("models.signal.monitor", ["scipy", "tensorflow", "paho"]),
        ("cloud_hub.cli", ["tensorflow", "scipy", "fastapi", "sqlalchemy", "matplotlib", "pyarrow", "amqtt"]),
        ("firmware_sim.cli", ["scipy", "tensorflow", "fastapi"]),
    ],
)
def test_importing_is_light(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}} & set({unwanted!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_every_package_says_what_it_is_for() -> None:
    for package in OURS:
        for init in (ROOT / package).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(init.read_text("utf-8"))), f"{init} has no docstring"


def test_print_is_for_command_lines() -> None:
    """Libraries log; only command lines speak to people."""
    wrong = []
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))
            prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
            if prints and "cli" not in name:
                wrong.append(name)
    assert wrong == []
