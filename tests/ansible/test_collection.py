"""The collection keeps what it promises: roles describe what they take, playbooks can be read, the tarball is whole."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_hub.fleet.role_readme import render
from firmware_sim.scenario import load_scenario
from tests.ansible.kit import COLLECTION, ROOT, SOURCES, ansible

ROLES = sorted(path.parent.parent.name for path in SOURCES.glob("roles/*/meta/main.yml"))
PLAYBOOKS = sorted(path.stem for path in SOURCES.glob("playbooks/*.yml"))
TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str, "path": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict,
}  # fmt: skip


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def options_of(role: str) -> dict[str, dict[str, Any]]:
    specs = read(SOURCES / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return dict(specs["main"]["options"])


def test_the_roles_and_playbooks_are_there() -> None:
    assert {"broker", "hub", "edge_agent", "sensors_sim"} <= set(ROLES)
    assert {
        "site", "enroll", "upgrade", "rollback", "rotate_certs", "revoke", "decommission", "backup", "restore",
    } <= set(PLAYBOOKS)  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_describes_is_what_it_sets(role: str) -> None:
    options = options_of(role)
    described = {name: option["default"] for name, option in options.items() if "default" in option}
    assert read(SOURCES / "roles" / role / "defaults" / "main.yml") == described


def described(options: dict[str, dict[str, Any]], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        yield above + name, option
        yield from described(option.get("options", {}), f"{above}{name}.")


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_named_after_its_role_described_and_used(role: str) -> None:
    folder = SOURCES / "roles" / role
    files = [path for path in (*folder.rglob("*"), *SOURCES.glob("playbooks/*")) if path.is_file()]
    text = "\n".join(
        path.read_text("utf-8")
        for path in files
        if path.name not in {"README.md", "argument_specs.yml"} and path.parent.name != "defaults"
    ) + "\n".join(str(value) for value in (read(folder / "defaults" / "main.yml") or {}).values())
    wrong = []
    for name, option in described(options_of(role)):
        if not option.get("description") or option.get("type", "str") not in TYPES:
            wrong.append(f"{name}: has no description or type")
        if option.get("required") and "default" in option:
            wrong.append(f"{name}: is required and has a default")
        value = option.get("default")
        computed = isinstance(value, str) and "{{" in value
        if value is not None and not computed and not isinstance(value, TYPES[option.get("type", "str")]):
            wrong.append(f"{name}: its default {value!r} is no {option.get('type', 'str')}")
        if value is not None and not computed and "choices" in option and value not in option["choices"]:
            wrong.append(f"{name}: its default {value!r} is not one of {option['choices']}")
        if "." not in name and name.startswith(f"{role}_") and not re.search(rf"\b{name}\b", text):
            wrong.append(f"{name}: nothing uses it")
        if "." not in name and not name.startswith(tuple(f"{one}_" for one in ROLES)):
            wrong.append(f"{name}: is named after no role")
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_of_a_role_is_what_it_says_of_itself(role: str) -> None:
    readme = SOURCES / "roles" / role / "README.md"
    assert readme.exists(), "run `make role-readmes`"
    assert readme.read_text("utf-8") == render(SOURCES / "roles" / role), "run `make role-readmes`"


def tasks_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping anywhere in a file of tasks or plays."""
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from tasks_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from tasks_in(one)


def test_nothing_but_ansible_itself_is_needed() -> None:
    """A gateway has no internet to get another collection from."""
    named = set()
    for path in [
        *SOURCES.glob("roles/*/tasks/*.yml"),
        *SOURCES.glob("roles/*/handlers/*.yml"),
        *SOURCES.glob("playbooks/*.yml"),
    ]:
        for task in tasks_in(read(path)):
            named |= {key for key in task if re.fullmatch(r"[a-z_]+\.[a-z_]+\.[a-z_]+", str(key))}
    assert named
    assert {name for name in named if not name.startswith(("ansible.builtin.", "millwright.fleet."))} == set()
    assert read(SOURCES / "galaxy.yml")["dependencies"] == {}


def test_the_tarball_that_galaxy_built_holds_every_file_and_is_what_is_installed() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    galaxy = read(SOURCES / "galaxy.yml")
    assert galaxy["version"] == version
    assert f"## {version}" in (SOURCES / "CHANGELOG.md").read_text("utf-8")
    with tarfile.open(ROOT / "var" / "fleet" / f"millwright-fleet-{version}.tar.gz") as tar:
        packed = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    manifest = json.loads(packed["MANIFEST.json"])["collection_info"]
    assert (manifest["namespace"], manifest["name"], manifest["version"]) == ("millwright", "fleet", version)
    ours = {
        path.relative_to(SOURCES).as_posix(): path.read_bytes()
        for path in SOURCES.rglob("*")
        if path.is_file() and not {".ansible", "__pycache__"} & set(path.relative_to(SOURCES).parts)
    }
    kept_back = {"galaxy.yml", ".ansible-lint", ".yamllint"}
    assert packed.keys() == (ours.keys() - kept_back) | {"MANIFEST.json", "FILES.json"}, "run `make collection`"
    stale = [name for name in packed.keys() & ours.keys() if packed[name] != ours[name]]
    assert stale == [], "run `make collection`"
    listed = {one["name"]: one["chksum_sha256"] for one in json.loads(packed["FILES.json"])["files"]}
    for name, content in packed.items():
        if name not in {"MANIFEST.json", "FILES.json"}:
            assert listed[name] == hashlib.sha256(content).hexdigest()
        assert (COLLECTION / name).read_bytes() == content


def test_the_example_bench_has_the_sensors_that_are_simulated_there() -> None:
    """Point by point as the simulator sends it, in the agent's words; every gateway of the scenario is this one."""
    bench = read(SOURCES / "inventories" / "example" / "host_vars" / "gw-bench.yml")
    sent = load_scenario(bench["sensors_sim_scenario"])
    ports = {(port.machine, port.point): (node.id, port) for node in sent.node for port in node.port}
    shafts = {machine.id: machine.shaft_hz for machine in sent.machine}
    assert set(bench["sensors_sim_gateways"]) == {node.gateway for node in sent.node}
    assert {(point["machine"], point["point"]) for point in bench["edge_agent_points"]} == set(ports)
    for point in bench["edge_agent_points"]:
        node, port = ports[point["machine"], point["point"]]
        for name in ("port", "units", "quantity", "rate_hz"):
            assert point[name] == getattr(port, name), name
        assert (point["node"], tuple(point["axes"])) == (node, port.axes)
        assert point["facts"]["shaft_hz"] == shafts[point["machine"]]


@pytest.mark.slow
def test_every_playbook_can_be_read(tmp_path: Path) -> None:
    books = [f"millwright.fleet.{name}" for name in PLAYBOOKS]
    example = COLLECTION / "inventories" / "example"
    done = ansible("ansible-playbook", "--syntax-check", "-i", example, *books, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^playbook: ", done.stdout, re.MULTILINE)) == len(PLAYBOOKS)
    assert "WARNING" not in done.stderr


@pytest.mark.slow
def test_the_example_inventory_is_what_the_roles_ask_for(tmp_path: Path) -> None:
    """Each role's own check of its arguments, for each host of the example; nothing is done on any host."""
    example = COLLECTION / "inventories" / "example"
    done = ansible("ansible-inventory", "--list", "-i", example, home=tmp_path)
    groups = json.loads(done.stdout)
    assert groups["millwright_hub"]["hosts"] == ["hub"]
    assert groups["millwright_gateways"]["hosts"] == ["gw-press-1", "gw-press-2", "gw-bench"]
    plays = []
    for hosts, role in (("hub", "hub"), ("hub", "broker"), ("gateways", "edge_agent"), ("bench", "sensors_sim")):
        spec = COLLECTION / "roles" / role / "meta" / "argument_specs.yml"
        known = "{{ q('varnames', '^(" + "|".join(options_of(role)) + ")$') }}"
        plays.append(
            {
                "hosts": f"millwright_{hosts}",
                "gather_facts": False,
                "vars_files": [str(COLLECTION / "roles" / role / "defaults" / "main.yml")],
                "tasks": [
                    {
                        "name": f"Check {role}",
                        "ansible.builtin.validate_argument_spec": {
                            "argument_spec": f"{{{{ (lookup('file', '{spec}') | from_yaml).argument_specs.main.options }}}}",
                            "provided_arguments": "{{ dict(names | zip(q('vars', *names))) }}",
                        },
                        "vars": {"names": known},
                    }
                ],
            }
        )
    book = tmp_path / "check.yml"
    book.write_text(json.dumps(plays))
    done = ansible("ansible-playbook", "-i", example, "-c", "local", book, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^ok: ", done.stdout, re.MULTILINE)) == 2 + 3 + 1
    plays[2]["vars"] = {"edge_agent_points": [{"machine": "P-101"}]}  # as the check can fail
    book.write_text(json.dumps(plays))
    done = ansible("ansible-playbook", "-i", example, "-c", "local", book, home=tmp_path)
    assert done.returncode == 2
    assert "missing required arguments: " in done.stdout
    assert "found in edge_agent_points" in done.stdout
