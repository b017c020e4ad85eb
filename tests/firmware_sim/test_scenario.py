from pathlib import Path

import pytest

from firmware_sim.errors import ScenarioError
from firmware_sim.scenario import builtin_names, load_scenario

GOOD = """
title = "t"
[[machine]]
id = "M-1"
gateway = "g"
node = "n"
point = "p"
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_scenarios_are_sound(name: str) -> None:
    assert load_scenario(name).machine


def test_plant_is_the_one_the_demo_tells_of() -> None:
    plant = load_scenario("plant")
    assert [m.id for m in plant.machine] == ["P-101", "F-201", "G-301"]
    assert {m.gateway for m in plant.machine} == {"gw-north", "gw-south"}
    assert plant.fault[0].start == "trigger"


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("shaft_hertz = 3.0", r"s.toml, machine\[0\].shaft_hertz: unknown key; did you mean 'shaft_hz'\?"),
        ("flaws = { dorp = 0.1 }", r"machine\[0\].flaws.dorp: unknown key; did you mean 'drop'\?"),
        ("rate_hz = -1.0", r"Expected `float` > 0.0 - at `\$.machine\[0\].rate_hz`"),
        ("rate_hz = 'fast'", r"Expected `float`, got `str`"),
        ('[[fault]]\nmachine = "M-2"\nkind = "imbalance"', r"no machine 'M-2'; did you mean 'M-1'\?"),
        ('[[fault]]\nmachine = "M-1"\nkind = "outer_race"', r"outer_race needs a bearing, machine M-1 has none"),
        ('[[fault]]\nmachine = "M-1"\nkind = "rust"', r"Invalid enum value 'rust'"),
        ('[[machine]]\nid = "M-2"\ngateway = "g"\nnode = "n"\npoint = "q"', r"node n port 0 is taken already"),
        ("this is not TOML", r"s.toml: "),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path: Path, extra: str, text: str) -> None:
    with pytest.raises(ScenarioError, match=text) as caught:
        load_scenario(write(tmp_path, GOOD + extra))
    assert caught.value.exit_code == 3


def test_all_unknown_keys_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(write(tmp_path, GOOD + "shaft_hertz = 3.0\nnoize_ms2 = 1.0\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'plant'"):
        load_scenario("plnat")
