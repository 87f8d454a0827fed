"""A theta update alone to a house that runs: the rest of what is in force there stays, and it is on trial like all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.contents import PLAIN
from deploy.deployment import DeploymentPlan, DeploymentWishes, Sent, carried_out, probed
from deploy.errors import DeployError
from deploy.layout import Layout
from deploy.ssh import Host, ask
from runtime.bundle.archive import Bundle
from runtime.formats.plain_files import LARGEST_TEXT, read_plain


def send_theta(update: Path, updated: Bundle, host: Host, root: Path, say: Callable[[str], None]) -> str:
    """Put the update where the daemon there takes it; why it was accepted. The same again goes on, or does nothing.

    updated: the bundle that runs there, with this update. Raises HostError and its kinds, TakenBackError where the
    daemon did not accept it, and DeployError where the house is not as it was deployed.
    """
    there = probed(host, Layout(root))
    current = there.state["current"]
    if current is None:
        raise DeployError(f"{host.target}: nothing was deployed there; begin with `nisse deploy`")
    if current["bundle"]["digest"] != updated.digest:
        raise DeployError(
            f"{host.target}: bundle {current['bundle']['digest'][:16]} runs there, not {updated.digest[:16]}; name the "
            "bundle that was deployed, or deploy this one"
        )
    place = current["hot"]["theta"]
    by_hand = [path for path in there.altered if path != place]
    if by_hand:
        raise DeployError(f"{host.target}: {by_hand[0]} was changed there by hand; deploy the site file first")
    content = read_plain(update, LARGEST_TEXT)
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = with_theta(current, updated, sha256)
    trial = there.state["trial"]
    follows = there.busy and trial is not None and trial["manifest"] == manifest
    if there.busy and not follows:
        raise DeployError(f"{host.target}: another deployment is at work or on trial there; wait for its end")
    if manifest == current and not there.altered and trial is None:
        return "in force already"
    sent = () if sha256 in there.files else (Sent(update.name, sha256, content),)
    return carried_out(
        DeploymentPlan(there, manifest, sent, (), follows=follows), host, DeploymentWishes(root=root), say
    )


def with_theta(current: dict[str, Any], updated: Bundle, sha256: str) -> dict[str, Any]:
    """The manifest of what is in force, with another theta: as `nisse deploy` would write it with this update."""
    place = current["hot"]["theta"]
    files = [file for file in current["files"] if file["path"] != place]
    behind = [file["path"] for file in files].index(current["hot"]["bundle"]) + 1
    files.insert(behind, {"path": place, "sha256": sha256, "mode": PLAIN})
    bundle = {"digest": updated.digest, "theta": updated.theta_digest, "identity": updated.identity}
    return {**current, "files": files, "bundle": bundle}


def send_savings(text: str, host: Host, site: Path) -> str:
    """Lay savings.json beside the log of the daemon at `site` there, for its page; where it lies. Raises HostError."""
    return str(ask(host, {"do": "savings", "site": str(site), "text": text})["kept"])
