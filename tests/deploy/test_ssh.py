"""Who cannot be reached, and what is to be done: each in one line."""

from __future__ import annotations

import ast
import dataclasses
import socket
import sys
from pathlib import Path

import pytest
from sshd_host import Sshd

from deploy import ssh
from deploy.errors import DeployError, HostError, HostKeyError, LinkLostError, MachineUnfitError
from deploy.ssh import Host, ask

NOTHING = {"do": "nothing"}


def trouble(host: Host, kind: type[HostError]) -> str:
    with pytest.raises(kind) as raised:
        ask(host, NOTHING)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_asked_is_answered_there(sshd: Sshd) -> None:
    with pytest.raises(DeployError, match="'nothing' is no request"):
        ask(sshd.host(), NOTHING)


def test_nobody_at_that_port(sshd: Sshd) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        said = trouble(sshd.host(f"Port={closed.getsockname()[1]}"), HostError)
    assert "cannot be reached" in said and "is it on" in said


def test_a_changed_host_key_is_an_error_that_says_what_to_do(sshd: Sshd, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    kind, key = (sshd.folder / "client.pub").read_text().split()[:2]
    other.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    said = trouble(sshd.host(f"UserKnownHostsFile={other}"), HostKeyError)
    assert "another machine" in said and "ssh-keygen -R" in said


@pytest.mark.parametrize("option", [(), ("StrictHostKeyChecking=no",), ("StrictHostKeyChecking=accept-new",)])
def test_an_unknown_host_is_not_trusted_whatever_the_options(sshd: Sshd, tmp_path: Path, option: tuple[str]) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    said = trouble(sshd.host(*option, f"UserKnownHostsFile={empty}"), HostKeyError)
    assert "not known here" in said and not empty.read_text()


def test_a_stranger_is_not_let_in(sshd: Sshd) -> None:
    said = trouble(sshd.host("PubkeyAuthentication=no"), HostError)
    assert "ssh-copy-id" in said


def test_without_python3_the_package_is_named(sshd: Sshd) -> None:
    assert "apt install python3" in trouble(sshd.with_python(""), MachineUnfitError)


def test_an_old_python3_is_named_with_its_version(sshd: Sshd) -> None:
    said = trouble(
        sshd.with_python("import sys; sys.version_info = (3, 9); sys.version = '3.9.2 (x)'"), MachineUnfitError
    )
    assert "3.9.2" in said and "Debian 12" in said


def test_a_link_that_breaks_says_that_it_may_be_run_again(sshd: Sshd) -> None:
    assert "run the same again" in trouble(sshd.cut_after(2000), LinkLostError)


def test_a_user_whose_sudo_asks_for_a_password(sshd: Sshd) -> None:
    tools = sshd.folder / "sudo-asks"
    tools.mkdir()
    (tools / "sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    (tools / "sudo").chmod(0o755)
    host = dataclasses.replace(sshd.searching(tools), sudo=True)
    assert "allow it without one" in trouble(host, HostError)


def test_what_is_sent_along_needs_nothing_there_but_python() -> None:
    folder = Path(ssh.__file__).with_name("onsite")
    assert {file.stem for file in folder.glob("*.py")} == {*ssh.MODULES, "__init__"}
    sent: list[str] = []
    for name in ssh.MODULES:
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names
            elif isinstance(node, ast.ImportFrom):
                root, _, module = (node.module or "").rpartition(".")
                assert (node.module or "").partition(".")[0] in sys.stdlib_module_names or (
                    root == "deploy.onsite" and module in sent
                ), f"{name} imports {node.module}"
        sent.append(name)


def test_a_host_that_would_be_an_option() -> None:
    with pytest.raises(HostError, match="is no host"):
        Host("-oProxyCommand=reboot")
