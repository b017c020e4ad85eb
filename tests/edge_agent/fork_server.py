"""Starts real agents fast, for tests that kill hundreds of them: everything is imported once, each agent is a fork.

    python -m tests.edge_agent.fork_server agent.toml < orders

Each line on stdin starts one agent, with its trust worker as a process of its own ("worker") or within ("within"); its
pid comes back on stdout. The next line is read when that agent has ended.
"""

from __future__ import annotations

import os
import sys

import edge_agent.agent
import edge_agent.cli
import edge_agent.transport
import edge_agent.trust
from edge_agent.runtime import find_runtime
from tests.simulators.trust import InProcess


def serve(config: str) -> None:
    """See the module."""
    find_runtime("auto")
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            if line.strip() == "within":
                edge_agent.trust.TrustStore._run_worker = InProcess._run_worker  # type: ignore[method-assign]
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            edge_agent.cli.main(["run", "--config", config])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        os.waitpid(pid, 0)


if __name__ == "__main__":
    serve(sys.argv[1])
