"""The log of a campaign: one JSON line per finished run, so that a campaign that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hil.campaign import CampaignRun
from hil.errors import BenchError
from hil.scenario import Fault, Scenario
from runtime.formats.documents import parse_json
from runtime.formats.plain_files import read_text
from systems.house_file import read_house

LOG_FILE = "trials.jsonl"


class CampaignLogError(BenchError):
    """The folder holds another campaign, or a log that cannot be read."""

    exit_code = 65


def identity(scenario: Scenario, bundle_digest: str) -> str:
    """What makes two campaigns the same one: the texts of scenario, house and site, the seed and the bundle."""
    house, _ = read_house(scenario.house_path)
    site = None if scenario.head.site is None else scenario.path(scenario.head.site)
    own_site = site.read_text(encoding="utf-8") if site is not None and site.is_file() else ""
    text = "\0".join((scenario.source, house, own_site, str(scenario.head.seed), bundle_digest))
    return hashlib.sha256(text.encode()).hexdigest()


def begin_log(folder: Path, campaign: str) -> list[CampaignRun]:
    """Create the log in `folder`, or read what an earlier start of the same campaign has finished.

    Raises:
        CampaignLogError: the log is that of another scenario, seed or bundle, or damaged.
    """
    path = folder / LOG_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"campaign": campaign}) + "\n", encoding="utf-8")
        return []
    whole, _, torn = read_text(path).rpartition("\n")
    if torn:  # the run whose line was cut off is run again
        path.write_text(whole + "\n", encoding="utf-8")
    try:
        header, *lines = (parse_json(line) for line in whole.splitlines())
        if header["campaign"] != campaign:
            raise CampaignLogError(f"{path}: of another scenario, seed or bundle: give another --output, or remove it")
        return [_trial(line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise CampaignLogError(f"{path}: not the log of a campaign ({error}): remove it to start anew") from error


def append(folder: Path, trial: CampaignRun) -> None:
    line = {
        "number": trial.number,
        "faults": [_fields(fault) for fault in trial.faults],
        "failures": list(trial.failures),
        "smallest": [_fields(fault) for fault in trial.smallest],
    }
    with (folder / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _fields(fault: Fault) -> dict[str, object]:
    return fault.model_dump(by_alias=True, exclude_defaults=True)


def _trial(line: dict[str, list[dict[str, object]]]) -> CampaignRun:
    number, failures = line["number"], line["failures"]
    if not isinstance(number, int):
        raise TypeError("a run without its number")
    return CampaignRun(
        number,
        tuple(Fault.model_validate(fields) for fields in line["faults"]),
        tuple(str(text) for text in failures),
        tuple(Fault.model_validate(fields) for fields in line["smallest"]),
    )
