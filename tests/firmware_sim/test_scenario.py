from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from firmware_sim.errors import ScenarioError
from firmware_sim.scenario import builtin_names, load_scenario, parse_scenario

SOUND = """
title = "t"
[[machine]]
id = "P-1"
kind = "pump"
shaft_hz = 25.0
bearing = { elements = 9, ball_mm = 8.0, pitch_mm = 40.0 }
[[node]]
id = "n-1"
gateway = "gw"
port = [{ machine = "P-1", point = "de" }]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        parse_scenario(text.encode(), "x.toml")
    assert str(error.value) == "\n".join(error.value.problems)
    assert error.value.exit_code == 3
    return error.value.problems


def test_a_sound_one_has_its_defaults():
    scenario = parse_scenario(SOUND.encode(), "x.toml")
    assert scenario.seed == 1
    assert scenario.node[0].port[0].axes == ("radial", "axial")
    assert scenario.fault == ()


@pytest.mark.parametrize("name", ["bench", "motor", "plant", "process", "rough"])
def test_built_in_scenarios_are_sound(name):
    assert name in builtin_names()
    assert load_scenario(name).title


def test_plant_is_what_the_documentation_promises():
    plant = load_scenario("plant")
    where = {(port.machine, port.point): node.gateway for node, port in plant.ports()}
    assert where == {
        ("P-101", "drive-end"): "gw-north", ("F-201", "drive-end"): "gw-north", ("G-301", "output-shaft"): "gw-south",
    }  # fmt: skip
    for _, port in plant.ports():
        assert (port.rate_hz, port.frame, port.axes) == (8192.0, 512, ("radial", "axial"))
    assert [(f.machine, f.kind, f.start, f.growth_s) for f in plant.fault] == [("P-101", "outer_race", "trigger", 60.0)]


def test_rough_turns_every_flaw_on():
    text = (resources.files("firmware_sim.scenarios") / "rough.toml").read_text()
    document = tomllib.loads(text)
    for node in load_scenario("rough").node:
        assert all(0 < getattr(node.flaws, name) <= 0.02 for name in node.flaws.__struct_fields__)
    for key in ("overrun", "reboot", "reboot_at_s", "stuck", "clock_ppm", "full_scale"):
        assert document["node"][0]["board"][key]


def test_all_problems_are_found_at_once_each_with_its_key():
    text = SOUND.replace("shaft_hz = 25.0", "shaft_hz = -1.0\nshaft_rpm = 1500").replace(
        'kind = "pump"', 'kind = "turbine"'
    )
    text = text.replace("elements = 9", "elements = 2").replace('point = "de"', 'pointt = "de"')
    found = problems(text)
    assert len(found) == 6
    joined = "\n".join(found)
    assert "x.toml, machine[0].shaft_rpm: unknown key; did you mean 'shaft_hz'?" in joined
    assert "x.toml, machine[0].shaft_hz: expected `float` >= 0.1, got -1.0" in joined
    assert "x.toml, machine[0].kind: invalid enum value 'turbine', got 'turbine'" in joined
    assert "x.toml, machine[0].bearing.elements: expected `int` >= 3, got 2" in joined
    assert "x.toml, node[0].port[0].pointt: unknown key; did you mean 'point'?" in joined
    assert "x.toml, node[0].port[0].point: missing" in joined


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "t"', "", "title: missing"),
        ('id = "P-1"', 'id = "P/1"', "machine[0].id: expected `str` matching regex"),
        ("[[node]]", "[node]", "node: expected a list of tables, got {'id': 'n-1'"),
        ("[[machine]]", "[machine]", "machine: expected a list of tables"),
        ("bearing = {", "bearing = 3 #", "machine[0].bearing: expected a table, got 3"),
        ("shaft_hz = 25.0", 'shaft_hz = "fast"', "machine[0].shaft_hz: expected `float`, got `str`, got 'fast'"),
        ("shaft_hz = 25.0", "shaft_hz = nan", "machine[0].shaft_hz: expected"),
        ('machine = "P-1"', 'machine = "P-2"', "node[0].port[0].machine: no machine 'P-2'; did you mean 'P-1'?"),
        ('point = "de"', 'point = "de", axes = ["radail"]', "node[0].port[0].axes: acceleration of a pump has no 'radail'; did you mean 'radial'?"),
        ('point = "de"', 'point = "de", axes = ["axial", "axial"]', "node[0].port[0].axes: each only once, got axial, axial"),
        ('point = "de"', 'point = "de", units = "mm/s"', "node[0].port[0].units: expected one of m/s2, g for acceleration, got 'mm/s'"),
        ('point = "de"', 'point = "de", rate_hz = 4000.0', "node[0].port[0].rate_hz: bearing.resonance_hz of P-1 reaches 2700 Hz, expected under 2000 Hz"),
        ('point = "de"', 'point = "de", quantity = "process", rate_hz = 0.1, frame = 100, axes = ["flow_m3_h"]', "node[0].port[0].frame: 100 samples at 0.1 Hz take longer than 600 s"),
        ('point = "de"', 'point = "de", quantity = "process", axes = ["oil_degC"]', "node[0].port[0].axes: process of a pump has no 'oil_degC'"),
        ('gateway = "gw"', 'gateway = "gw"\nflaws = { dorp = 0.1 }', "node[0].flaws.dorp: unknown key; did you mean 'drop'?"),
        ('gateway = "gw"', 'gateway = "gw"\nflaws = { drop = 1.5 }', "node[0].flaws.drop: expected `float` <= 1.0, got 1.5"),
        ('gateway = "gw"', 'gateway = "gw"\nboard = { stuck = [{ axis = "up" }] }', "node[0].board.stuck[0].axis: no axis 'up'; known: axial, radial"),
        ('gateway = "gw"', 'gateway = "gw"\nboard = { stuck = [{ axis = "axial", port = 4 }] }', "node[0].board.stuck[0].port: node n-1 has no port 4"),
        ('gateway = "gw"', 'gateway = "gw"\nboard = { stuck = [{ at_s = 4.0 }] }', "node[0].board.stuck[0].axis: missing"),
        ("shaft_hz = 25.0", "shaft_hz = 25.0\nload = { mean = 0.2, swing = 0.3 }", "machine[0].load.swing: expected below load.mean 0.2, got 0.3"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_text(old, new, expected):
    assert old in SOUND
    found = problems(SOUND.replace(old, new, 1))
    assert len(found) == 1, found
    assert found[0].startswith(f"x.toml, {expected}")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ('machine = "P-9"\nkind = "ball"', "fault[0].machine: no machine 'P-9'; did you mean 'P-1'?"),
        ('machine = "P-1"\nkind = "gear_wear"', "fault[0].kind: gear_wear needs a gear, machine P-1 has none"),
        ('machine = "P-1"\nkind = "cavitation"', "fault[0].kind: cavitation needs a pump with an impeller, machine P-1 is none"),
        ('machine = "P-1"\nkind = "ball"\nstart = "later"', "fault[0].start: "),
        ('machine = "P-1"\nkind = "bal"', "fault[0].kind: invalid enum value 'bal'"),
    ],
)  # fmt: skip
def test_faults_must_be_possible(fault, expected):
    found = problems(f"{SOUND}\n[[fault]]\n{fault}\n")
    assert len(found) == 1
    assert found[0].startswith(f"x.toml, {expected}")


def test_the_same_id_twice_is_found():
    text = SOUND + SOUND.partition("[[machine]]")[2].join(["[[machine]]", ""])
    assert problems(text) == [
        "x.toml, machine[1]: 'P-1' is taken already",
        "x.toml, node[1]: 'n-1' is taken already",
        "x.toml, node[1].port[0].point: machine P-1 has a point 'de' already",
    ]


def test_a_bearing_fault_needs_a_bearing():
    text = SOUND.replace("bearing =", "#") + '\n[[fault]]\nmachine = "P-1"\nkind = "ball"\n'
    assert problems(text) == ["x.toml, fault[0].kind: ball needs a bearing, machine P-1 has none"]


def test_not_toml_and_not_utf8():
    assert problems("title = ")[0].startswith("x.toml: not TOML: ")
    with pytest.raises(ScenarioError, match="not TOML"):
        parse_scenario(b"\xff\xfe", "x.toml")


def test_an_unknown_name_gets_the_nearest_one(tmp_path):
    with pytest.raises(ScenarioError) as error:
        load_scenario("plnat")
    assert str(error.value) == "scenario 'plnat': no such file, and no such built-in one; did you mean 'plant'?"
    path = tmp_path / "mine.toml"
    path.write_text(SOUND)
    assert load_scenario(str(path)).title == "t"
