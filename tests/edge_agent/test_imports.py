"""What the agent may load: a gateway pays for every import."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ["tensorflow", "keras", "scipy", "fastapi", "pandas", "pydantic", "typer", "rich", "tuf", "cryptography",
             "securesystemslib", "sqlalchemy", "cloud_hub", "pyarrow", "matplotlib"]  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(' '.join(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_the_agent_loads_nothing_heavy() -> None:
    modules = loaded_by(
        "import edge_agent.agent, edge_agent.transport, edge_agent.trust, edge_agent.cli\n"
        "from edge_agent.runtime import find_runtime\nfind_runtime('litert')"
    )
    assert modules.isdisjoint(FORBIDDEN), modules & set(FORBIDDEN)
    assert {"edge_agent", "models", "numpy", "msgspec", "paho", "ai_edge_litert"} <= modules


def test_only_the_transport_loads_paho_and_only_the_runtime_a_runtime() -> None:
    assert loaded_by("import edge_agent.agent").isdisjoint({"paho", "ai_edge_litert", "tflite_runtime"})


def test_help_and_check_config_load_no_numpy_runtime() -> None:
    assert loaded_by("import edge_agent.cli").isdisjoint({"numpy", "paho", "ai_edge_litert"})
