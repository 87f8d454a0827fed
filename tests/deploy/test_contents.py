"""What goes to a house, and what does not: secrets that the site file names, and never more."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tiny_house import House, make_bundle

from deploy.contents import contents
from deploy.errors import DeployFilesError
from deploy.layout import Layout
from deploy.machine import Machine
from runtime.bundle.keys import new_key
from runtime.errors import BundleArchError

FEEDS = '\n[feeds]\n[feeds.price]\nsource = "entsoe"\nzone = "NO3"\ntoken_credential = "nisse_entsoe"\n'
WEB = '\n[web]\nlisten = "0.0.0.0"\npassword_credential = "nisse_web_password"\n'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("house")
    one = House(folder / "here", folder / "root", 1883, new_key(folder / "key.pem"))
    one.write_site()
    one.give(make_bundle(folder / "bundles", one.key, serial=1))
    secrets = folder / "here/secrets"
    secrets.mkdir()
    for name in ("entsoe", "web_password", "mqtt_password", "diary"):
        (secrets / name).write_text(f"{name}\n")
    return one


def there(arch: str = "x86_64", *, systemd: bool = True) -> Machine:
    return Machine("3.11", arch, (2, 36), 0.0, 1 << 40, systemd, frozenset(), frozenset(), {}, False, ())


def test_only_the_secrets_that_are_named_go_and_they_are_closed(house: House) -> None:
    found = contents(house.write_site(FEEDS + WEB), there(), Layout(), house.here / "secrets", None)
    paths = {str(item.path): item for item in found.items}
    assert set(paths) == {
        "/etc/nisse/site.toml", "/etc/nisse/tank.nisse", "/etc/nisse/credentials/entsoe",
        "/etc/nisse/credentials/web_password", "/etc/systemd/system/nisse.service",
        "/etc/systemd/system/nisse-feeds.service", "/etc/systemd/system/nisse-web.service",
    }  # fmt: skip
    assert paths["/etc/nisse/credentials/entsoe"].mode == stat.S_IRUSR | stat.S_IWUSR
    assert found.extras == ("feeds", "web") and list(found.about["services"]) == ["nisse", "nisse-feeds", "nisse-web"]
    assert b"ExecStart=/opt/nisse/current/bin/nisse run" in paths["/etc/systemd/system/nisse.service"].content


def test_without_feeds_and_page_there_are_none(house: House) -> None:
    found = contents(house.write_site(), there(systemd=False), Layout(Path("/srv/house")), None, 60.0)
    assert [str(item.path) for item in found.items] == [
        "/srv/house/etc/nisse/site.toml",
        "/srv/house/etc/nisse/tank.nisse",
    ]
    assert found.extras == () and found.about["rhythm"]["deadline_s"] == 60.0
    assert found.about["record"] == "/srv/house/etc/nisse/../../var/lib/nisse/nisse.bundles"


def test_a_trial_may_take_as_long_as_its_decisions(house: House) -> None:
    found = contents(house.write_site(more="decide_every_s = 60.0"), there(), Layout(), None, None)
    assert found.about["rhythm"]["deadline_s"] == 600.0 + (2 * 2 + 4) * 60.0


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('\n[web]\npassword_file = "secrets/web_password"\n', "password_credential"),
        (
            '\n[feeds]\n[feeds.price]\nsource = "entsoe"\nzone = "NO3"\ntoken_file = "secrets/entsoe"\n',
            "token_credential",
        ),
    ],
)
def test_a_secret_file_that_the_service_cannot_read_is_refused(extra: str, said: str, house: House) -> None:
    with pytest.raises(DeployFilesError, match=said):
        contents(house.write_site(extra), there(), Layout(), None, None)
    assert contents(house.write_site(extra), there(systemd=False), Layout(Path("/srv")), None, None).items


def test_what_leads_out_of_the_folder_and_what_is_not_there(house: House) -> None:
    for text, said in (
        ('"../here/tank.nisse"', "leads out of the folder"),
        (f'"{house.here / "tank.nisse"}"', "leads out of the folder"),
    ):
        site = house.write_site()
        site.write_text(site.read_text().replace('"tank.nisse"', text))
        with pytest.raises(DeployFilesError, match=said):
            contents(site, there(), Layout(), None, None)


def test_a_bundle_without_a_library_for_the_machine_is_refused_here(house: House) -> None:
    with pytest.raises(BundleArchError, match="aarch64"):
        contents(house.write_site(), there("aarch64"), Layout(), None, None)
