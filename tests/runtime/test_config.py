"""A site file with a mistake is refused in one line that names file, line and remedy, and with exit code 78."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tiny_site import command, site_text, tiny_manifest

from runtime.bundle.keys import SigningKey
from runtime.errors import ConfigError
from runtime.formats.toml_lines import line_of
from runtime.site.check import check_against
from runtime.site.config import load_site


@pytest.fixture
def text(bundle_directory: Path, key: SigningKey) -> str:
    return site_text(bundle_directory, key.public, Path("/dev/ttyUSB0"), 1883)


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_against(load_site(path), tiny_manifest())
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}:")


def line(text: str, start: str) -> int:
    return next(i for i, content in enumerate(text.splitlines(), 1) if content.startswith(start))


def test_the_good_file_is_accepted(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    site = load_site(tmp_path / "site.toml")
    check_against(site, tiny_manifest())
    assert site.relative(site.store.path) == tmp_path / "nisse.db"


MISTAKES = [
    ("cycle_s = 60.0", "cylce_s = 60.0", "cylce_s", "did you mean 'cycle_s'"),
    ("max_age_s = 30", "max_age = 30", "max_age =", "did you mean 'max_age_s'"),
    ("max_age_s = 600", 'max_age_s = "ten"', 'max_age_s = "ten"', "valid number, not 'ten'"),
    ('type = "uint16"', 'typ = "uint16"', "register = { kind = \"input\"", "did you mean 'type'"),
    ('type = "uint16"', 'type = "uint17"', "register = { kind = \"input\"", "uint16"),
    ("address = 10", "address = -10", 'register = { kind = "holding"', "greater than or equal to 0"),
    ("[outputs.inflow]", "[output.inflow]", "[output.inflow]", "did you mean 'outputs'"),
    ('kind = "hold"', 'kind = "holt"', 'kind = "holt"', "hold"),
    ("values = { inflow", "value = { inflow", "value = ", "did you mean 'values'"),
    ("values = { inflow", "values = { inflaw", "[rule]", "did you mean 'inflow'"),
    ('source = "pump"', 'source = "pomp"', 'source = "pomp"', "did you mean 'pump'"),
    ("[inputs.level]", "[inputs.levle]", "[inputs.levle]", "did you mean 'level'"),
    ('unit = "W"', 'unit = "K"', 'unit = "K"', "cannot be converted"),
    ("combine = { inflow", "combine = { outflow", "combine", "did you mean 'inflow'"),
    ("cycle_s = 60.0", "cycle_s = 61.0", "cycle_s", "at most"),
    ("scale = 0.001 }", "scale = 0 }", 'register = { kind = "input"', "scale must not be 0"),
    ('protocol = "modbus"', 'protocol = "framed"', "[inputs.level]", "speaks framed; give a channel instead"),
    ("register = { kind = \"input\", address = 0", "channel = { nummer = 0", "channel =", "did you mean 'number'"),
    ("safe = 0.0", "safe = 0\ntimeout_register = { kind = 'holding', address = 3 }", "[outputs.inflow]", "needs dev"),
    ("safe = 0.0", "safe = 0.0\ndevice_timeout_s = 1", "device_timeout_s", "greater than or equal to 3"),
    ('topic = "plant/demand"', 'topic = "plant/#"', "[inputs.demand]", "wildcards"),
    ('trusted_keys = ["', 'trusted_keys = ["x', "trusted_keys", "nisse key show"),
    ('name = "tank"', 'name = "The Tank"', 'name = "The', "pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "where", "what"), MISTAKES)
def test_mistakes_are_named_with_their_line(
    tmp_path: Path, text: str, good: str, bad: str, where: str, what: str
) -> None:
    assert good in text
    broken = text.replace(good, bad, 1)
    message = refused(tmp_path, broken)
    assert message.startswith(f"{line(broken, where)}:"), message
    assert what in message


def test_not_toml_names_line_and_column(tmp_path: Path, text: str) -> None:
    assert "line 3" in refused(tmp_path, text.replace('name = "tank"', "name = tank"))


def test_the_bundle_of_another_house_is_named(tmp_path: Path, text: str) -> None:
    other = text.replace("[inputs.level]", "[inputs.living_temperature]").replace("{ inflow = 1.0", "{ hp_power = 1.0")
    message = refused(tmp_path, other)
    assert (
        message.startswith(f"{line(other, 'bundle =')}:") and "'tiny', which moves inflow and nothing that" in message
    )
    assert "this site has, hp_power; name the bundle of this house" in message


def test_a_missing_signal_is_named(tmp_path: Path, text: str) -> None:
    start = text.index("[inputs.demand]")
    assert "needs demand" in refused(tmp_path, text[:start] + text[text.index("[outputs.inflow]") :])


def test_lines_are_found_in_dotted_keys_and_nested_tables() -> None:
    toml = '[a]\nb.c = 1\n[a.d]\n"e f" = 2\n# [a.g]\n[a.g]\n'
    assert line_of(toml, ("a", "b", "c")) == 2
    assert line_of(toml, ("a", "d", "e f")) == 4
    assert line_of(toml, ("a", "d", "missing")) == 3
    assert line_of(toml, ("a", "g", "h")) == 6
    assert line_of(toml, ("nowhere",)) == 1


@pytest.mark.parametrize("verb", ["run", "check"])
def test_commands_end_with_one_line_and_the_code(tmp_path: Path, text: str, verb: str) -> None:
    broken = tmp_path / "site.toml"
    broken.write_text(text.replace("cycle_s", "cylce_s", 1))
    for path, words in ((broken, "did you mean"), (tmp_path / "none.toml", "name the site file")):
        done = subprocess.run(command(verb, path), capture_output=True, text=True)
        assert done.returncode == 78
        assert done.stdout == "" and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"nisse {verb}: ") and words in done.stderr


def test_commands_refuse_a_bad_bundle_with_65(tmp_path: Path, text: str, bundle_directory: Path) -> None:
    import shutil

    copy = shutil.copytree(bundle_directory, tmp_path / "bundle")
    site = tmp_path / "site.toml"
    site.write_text(text.replace(str(bundle_directory), str(copy)))
    assert subprocess.run(command("check", site), capture_output=True).returncode == 0
    theta = copy / "theta.json"
    theta.write_text(theta.read_text().replace("1.0", "1.1", 1))
    for verb in ("check", "run"):
        done = subprocess.run(command(verb, site), capture_output=True, text=True)
        assert done.returncode == 65
        *before, reason = done.stderr.splitlines()
        assert "theta.json is not what was signed" in reason
        # The device is left safe all the same, and told of where it is not to be had.
        assert before == [] if verb == "check" else "OUTPUT inflow WAS NOT SET" in before[-1]
