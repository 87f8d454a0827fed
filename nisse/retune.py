"""`nisse retune HOUSE`: look at the house again, learn from its log, and send a theta only where it is shown to pay."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.keys import load_key
from runtime.bundle.manifest import new_serial, serial_number
from runtime.bundle.theta_update import with_update, write_update
from runtime.errors import BundleOlderError, ThetaMisfitError

if TYPE_CHECKING:
    from rich.console import Console

    from nisse.retune_house import Reached
    from systems.design import HouseDesign
    from systems.world import Exogenous
    from tuner.retune.study import Study
    from tuner.retune.watch import SentTheta

LOG, SAVINGS, WATCH = "nisse.db", "savings.json", "watch.json"
WEEKS = 8


class RetuneUsageError(ValueError):
    """Options that do not go together."""

    exit_code = 2


class OtherBundleError(ValueError):
    """The log is of another bundle than the one named."""

    exit_code = 65


@dataclass(frozen=True)
class Field:
    """What runs in the house."""

    bundle: Bundle
    theta: Mapping[str, float]
    serial: int
    """Of the theta update in force; 0 while theta is the bundle's own."""
    place: Path = Path()
    """Where the update in force is kept here."""
    reached: Reached | None = None
    """None where a person carries log and theta."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deploy.commands.reaching import add_reaching
    from systems.commands.numbers import MOST_PROCESSES, whole
    from systems.commands.output import output_folder, output_path
    from tuner.commands import worlds as world_options
    from tuner.commands.prices import add_data_arguments
    from tuner.loop.periods import HELD_IN_WEEKS  # noqa: F401 - says at once where the tuner is not installed

    parser.epilog = (
        "A theta is sent only where the model holds, and both the later part of the log and simulation show that it\n"
        "pays. What was sent is watched for a week: call the command again, with a newer log, and it keeps the theta\n"
        "or takes it back before it does anything else. With --from the log is fetched from the house, and a theta\n"
        "goes there by itself. docs/guide/retune.md has the timer that does so.\n\n"
        "examples:\n"
        "  nisse retune villa.toml --from pi@house --model model.json --bundle villa.nisse --key signing.pem\n"
        "  nisse retune villa.toml --model model.json --log nisse.db --bundle villa.nisse\n"
        "  nisse retune villa.toml --model model.json --log nisse.db --bundle villa.nisse --key signing.pem --yes"
    )
    parser.add_argument("house", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument(
        "--from", dest="origin", metavar="HOST",
        help="the house, as ssh takes it: its log is fetched, thetas and savings.json go there",
    )  # fmt: skip
    add_reaching(parser)
    parser.add_argument(
        "--log", type=Path, metavar="NISSE.db", help="the daemon's own log (with --from: nisse.db in --output)"
    )
    parser.add_argument("--bundle", type=Path, metavar="FILE", required=True, help="the bundle that runs there")
    parser.add_argument(
        "--field-theta", type=Path, metavar="FILE.theta",
        help="the theta update that runs there (default: BUNDLE.theta, where there is one)",
    )  # fmt: skip
    parser.add_argument("--key", type=Path, metavar="FILE", help="signing key; without it nothing is packed")
    parser.add_argument("--serial", type=serial_number, metavar="N", help="(default: milliseconds since 1970)")
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="(default: HOUSE-retune)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the verdict for machines there, too")
    parser.add_argument("--yes", action="store_true", help="do not ask before a theta is sent")
    parser.add_argument("--learn", nargs="+", metavar="NAME", help="parameters or groups, as in `nisse tune`")
    parser.add_argument("--iterations", type=whole(1), default=4, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--weeks", type=whole(2), default=WEEKS, metavar="N", help="of simulation, to judge (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=whole(1, MOST_PROCESSES), default=2, metavar="N", help="processes (default: %(default)s)"
    )
    world_options.add_arguments(parser)
    add_data_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from codegen.commands.build import design_from
    from tuner.retune.watch import read_watch

    console, now_s = Console(highlight=False), time.time()
    design = design_from(args.house, args.model)
    folder = args.output or Path(f"{design.house.name}-retune")
    folder.mkdir(parents=True, exist_ok=True)
    field = _field(args, design)
    log = _log(args, console, field, folder)
    _check_log(log, field.bundle)
    if _delivered(console, field, folder):
        return 0  # what a broken link held up, by an earlier call
    watch = read_watch(folder / WATCH)
    if watch is not None and _watching(args, console, log, design, field, watch, folder, now_s):
        return 0
    return _retuned(args, console, log, design, field, folder, now_s)


def _log(args: argparse.Namespace, console: Console, field: Field, folder: Path) -> Path:
    """The log, fetched where it is in the house. Raises RetuneUsageError, HostError and LogError."""
    if field.reached is None:
        if args.log is None:
            raise RetuneUsageError("name the daemon's log with --log, or the house that it is fetched from with --from")
        return Path(args.log)
    log = args.log or folder / LOG
    console.print(field.reached.pulled(log), soft_wrap=True)
    return log


def _delivered(console: Console, field: Field, folder: Path) -> bool:
    """Whether a packed theta went to the house, to the end of its trial there."""
    file = folder / f"{field.bundle.manifest.system}.theta"
    said = partial(console.print, soft_wrap=True)
    return field.reached is not None and field.reached.delivered(file, field.bundle, field.place, folder, said)


def _field(args: argparse.Namespace, design: HouseDesign) -> Field:
    """Raises a BundleError, and ThetaMisfitError for a bundle of another house."""
    from deploy.commands.reaching import reached as reached_host
    from nisse.retune_house import Reached

    with tempfile.TemporaryDirectory(prefix="nisse-retune-") as place:
        bundle = open_bundle(args.bundle, None, arch="any", unpack_dir=Path(place))
        update = args.field_theta or args.bundle.with_name(args.bundle.name + ".theta")
        if args.field_theta is not None or update.exists():
            bundle = with_update(bundle, update, None)
    check_house(design, bundle, args.bundle)
    reached = None if args.origin is None else Reached(reached_host(args.origin, args), args.root)
    return Field(bundle, bundle.theta, 0 if bundle.theta_stamp is None else bundle.theta_stamp.serial, update, reached)


def check_house(design: HouseDesign, bundle: Bundle, file: Path) -> None:
    """Raises ThetaMisfitError where the house file is not that of the bundle in the field."""
    manifest, problem = bundle.manifest, design.problem
    parts = {
        "states": ([s.name for s in manifest.states], [s.name for s in problem.states]),
        "actions": ([a.name for a in manifest.actions], [a.name for a in problem.actions]),
        "parameters": ([p.name for p in manifest.theta], [p.name for p in problem.theta]),
    }
    apart = [
        f"{what} {', '.join(sorted(set(there) ^ set(here))[:3]) or 'in another order'}"
        for what, (there, here) in parts.items()
        if there != here
    ]
    if manifest.system != design.house.name:
        apart.insert(0, f"its house is {manifest.system!r}, not {design.house.name!r}")
    elif not apart and manifest.dt_s != problem.dt_s:
        apart.append(f"decides every {manifest.dt_s:g} s, the house file every {problem.dt_s:g} s")
    if apart:
        raise ThetaMisfitError(
            f"{file}: does not match the house file ({'; '.join(apart)}); name the house file and --model that this "
            "bundle was built from, or build and deploy a new bundle first"
        )


def _check_log(log: Path, bundle: Bundle) -> None:
    """Raises ForeignLogError where the newest cycles are another bundle's."""
    from tuner.loop.field_log import bundle_of

    digest = bundle_of(log)
    if digest != bundle.digest:
        raise OtherBundleError(
            f"{log}: bundle {digest[:16]} wrote its last cycles, and {bundle.manifest.name} is {bundle.digest[:16]}; "
            "name the log of the house where this bundle runs, or the bundle that runs there"
        )


def _watching(
    args: argparse.Namespace, console: Console, log: Path, design: HouseDesign, field: Field, watch: SentTheta,
    folder: Path, now_s: float,
) -> bool:  # fmt: skip
    """Whether that is all for now: the watch goes on, or ended with the theta before."""
    from nisse.retune_verdict import settle
    from tuner.retune.watch import watched

    found = watched(watch, log, design, now_s)
    console.print(f"theta {watch.serial} {found.outcome}: {found.said}", soft_wrap=True)
    if found.outcome == "goes on":
        return True
    record = folder / WATCH
    if found.outcome == "kept":
        settle(folder, watch.serial, "kept", f"its week is over, and it stays: {found.said}")
        record.replace(record.with_name(f"watch-{watch.serial}.kept.json"))
        return False
    _take_back(args, console, field, watch, folder, now_s, found.said)
    return True


def _take_back(
    args: argparse.Namespace, console: Console, field: Field, watch: SentTheta, folder: Path, now_s: float, because: str
) -> None:
    """Nobody is asked: that the theta before comes back is what was agreed when this one was sent."""
    from nisse.retune_verdict import settle

    why = {"took_back": watch.serial, "because": because}
    serial = _pack(args, console, field, dict(watch.previous), folder, now_s, why)
    settle(folder, watch.serial, "gone back", f"the theta before it is packed again as serial {serial}: {because}")
    if field.reached is not None:
        _delivered(console, field, folder)
    else:
        (folder / WATCH).replace(folder / f"watch-{watch.serial}.back.json")


def _retuned(
    args: argparse.Namespace, console: Console, log: Path, design: HouseDesign, field: Field, folder: Path, now_s: float
) -> int:
    from nisse.retune_verdict import PAGE, write_verdict
    from systems.commands.output import write_json
    from tuner.commands.savings import savings_in
    from tuner.commands.tune_display import LiveTable, tuning_view
    from tuner.commands.worlds import workers_from, worlds_from
    from tuner.evaluate.savings import told
    from tuner.loop.explore import learned_by_default
    from tuner.loop.periods import spread
    from tuner.loop.replay import replay_log
    from tuner.retune.study import StudyWishes, study

    importlib.import_module("casadi")

    def judges() -> tuple[Exogenous, Sequence[int]]:
        worlds = worlds_from(args, design.house)
        weeks = worlds.held_out_weeks
        return worlds.held_out, spread(weeks, min(args.weeks, len(weeks)), "held-out")

    learn = learned_by_default(design.problem.theta) if args.learn is None else tuple(args.learn)
    wishes = StudyWishes(learn, args.iterations, args.seed, _since(folder))
    house, currency = design.house.name, design.house.currency
    with LiveTable(console, tuning_view(f"{house}: what the log teaches", currency)) as live:
        replay, workers = replay_log(log, design), workers_from(args, args.jobs)
        found = study(log, replay, design, field.theta, wishes, judges, workers, report=live.update)
    for line in (*(finding.said for finding in found.findings), *found.told):
        console.print(line, soft_wrap=True)
    savings = savings_in(replay, design)
    write_json(folder / SAVINGS, savings.document())
    decided, serial = _decided(args, console, field, found, folder, now_s)
    about = {"house": house, "currency": currency, "from": savings.first, "until": savings.last}
    document = found.document() | about | {"savings": told(savings), "decided": decided, "serial": serial}
    if serial is None:
        document = write_verdict(folder, document, "not sent", "")
    elif field.reached is None:
        document = write_verdict(folder, document, "packed", "nobody has sent it: a person installs it in the house")
    else:
        document = write_verdict(folder, document, "under way", "it is not known to be in force yet")
    if args.json is not None:
        write_json(args.json, document)
    console.print(decided, soft_wrap=True)
    console.print(f"drawn: {folder / PAGE}", soft_wrap=True)
    if field.reached is not None:
        field.reached.shown(folder / SAVINGS)
        _delivered(console, field, folder)
    return 0


def _decided(
    args: argparse.Namespace, console: Console, field: Field, found: Study, folder: Path, now_s: float
) -> tuple[str, int | None]:
    """What is decided about the theta, in a sentence, and the serial that it was packed with."""
    from tuner.retune.watch import SentTheta, write_watch

    if not found.better:
        return found.refused, None
    if args.key is None:
        return "log and simulation show that the new theta pays; name --key to pack it", None
    if not args.yes and not _agreed():
        return "log and simulation show that the new theta pays; it was not sent, because nobody said yes", None
    theta = found.theta()
    said = {"off_policy": found.document()["off_policy_saving_per_week"], "promise": vars(found.promise)}
    serial = _pack(args, console, field, theta, folder, now_s, said)
    assert found.promise is not None
    watch = SentTheta(
        field.bundle.manifest.system, field.bundle.digest, serial, theta, dict(field.theta), found.promise, now_s
    )
    write_watch(folder / WATCH, watch)
    goes = "" if field.reached is None else f" for {field.reached.host.target}"
    return f"log and simulation show that the new theta pays: packed as serial {serial}{goes}", serial


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("log and simulation show that the new theta pays; send it? [y/N] ").strip().lower() in ("y", "yes")


def _pack(
    args: argparse.Namespace, console: Console, field: Field, theta: dict[str, float], folder: Path, now_s: float,
    provenance: dict[str, Any],
) -> int:  # fmt: skip
    """Pack the theta; its new serial. Raises BundleOlderError where that would be older than the field's."""
    if args.key is None:
        raise RetuneUsageError("the theta before has to come back, and that has to be signed: name --key")
    serial = new_serial(now_s) if args.serial is None else args.serial
    if serial <= field.serial:
        raise BundleOlderError(
            f"serial {serial} is older than {field.serial}, which runs there; "
            + ("leave --serial out" if args.serial is not None else "set the clock of this machine, or give --serial")
        )
    created = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    whole = {**field.bundle.theta, **theta}
    file = write_update(
        folder / f"{field.bundle.manifest.system}.theta", field.bundle, whole, load_key(args.key), serial=serial,
        created=created, provenance={"retune": provenance},
    )  # fmt: skip
    by_hand = "" if field.reached is not None else f"; on the Pi: nisse theta install {file.name} site.toml"
    console.print(f"{file}: theta {serial}{by_hand}", soft_wrap=True)
    return serial


def _since(folder: Path) -> float:
    """Unix time from which on the present theta decided, as far as is known here: when the last one was sent."""
    from tuner.retune.watch import read_watch

    kept = [read_watch(file) for file in folder.glob("watch-*.kept.json")]
    return max((watch.sent_s for watch in kept if watch is not None), default=0.0)
