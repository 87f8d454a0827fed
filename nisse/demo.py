"""`nisse demo`: a house from a log to the bench, by the commands that anybody would type, and one page about it."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nisse.exits import EXIT_CHECK_FAILED, EXIT_OK
from systems.commands.output import output_folder, output_path, write_json

if TYPE_CHECKING:
    from pages.page import Page

HOUSE = "battery"
LOG, MODEL, MODEL_PAGE, THETA, VERDICT, KEY = (
    "log.csv", "model.json", "model.html", "theta.json", "verdict.html", "signing.pem",
)  # fmt: skip
EVALUATION, BENCH = "evaluation.json", "bench.json"
UNBIASED, PLAIN = "data fit, mean removed", "data fit"


class DemoError(RuntimeError):
    """A step that ended without its result; with its exit code."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"`nisse {command}` ended with {code}; its last lines say why")
        self.exit_code = code


@dataclass(frozen=True)
class DemoSize:
    """How much work the demo does: enough to see each step, and little enough to wait for."""

    log_days: int = 21
    iterations: int = 1
    episodes: int = 4
    held_in_weeks: int = 1
    weeks: int = 3
    """Held out; two of them would give an interval that says nothing."""
    problems: int = 20
    bench_days: float = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse demo\n  nisse demo villa --output out/villa\n  nisse demo my-house.toml --weeks 8"
    )
    parser.add_argument(
        "house",
        nargs="?",
        default=HOUSE,
        help="a house file, or the name of a shipped house, see `nisse check` (default: %(default)s)",
    )
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="(default: out/demo/HOUSE)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write what came of it for machines")
    parser.add_argument("--prices", type=Path, metavar="FILE.csv", help="your own prices instead of generated ones")
    parser.add_argument("--iterations", type=int, metavar="N", help="of tuning (default: the demo's)")
    parser.add_argument("--weeks", type=int, metavar="N", help="held out (default: the demo's)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


@dataclass
class _Demo:
    """A folder that the commands fill, and how long each of them took."""

    folder: Path
    took_s: dict[str, float]

    def run(self, *command: str) -> int:
        """One of the commands, shown as it is typed; its exit code."""
        from nisse.cli import main

        print(f"\n$ nisse {shlex.join(command)}", flush=True)
        began = time.monotonic()
        code = main(command)
        self.took_s[command[0]] = time.monotonic() - began
        return code

    def must(self, *command: str) -> None:
        """Raises DemoError where it does not end well."""
        code = self.run(*command)
        if code != EXIT_OK:
            raise DemoError(shlex.join(command), code)

    def path(self, name: str) -> str:
        return str(self.folder / name)


def run(args: argparse.Namespace) -> int:
    for needed in ("casadi", "rich"):
        importlib.import_module(needed)  # said at once, not by the first step that lacks it
    from systems.house_file import load_house
    from systems.prices import PriceOptions, load_prices

    house, size, began = load_house(args.house), DemoSize(), time.monotonic()
    if args.prices is not None:
        load_prices(args.prices, PriceOptions(currency=house.currency))
    demo = _Demo(args.output or Path("out/demo") / house.name, {})
    demo.folder.mkdir(parents=True, exist_ok=True)
    evaluation = _learn(args, size, demo)
    chosen = "tuned" if _tuned_is_better(evaluation) else "data fit"
    bundle, path = demo.path(f"{house.name}.nisse"), demo.path
    if not (demo.folder / KEY).exists():
        demo.must("key", "new", path(KEY))
    theta = ["--theta", path(THETA)] if chosen == "tuned" else []
    demo.must(
        "build", args.house, "--model", path(MODEL), *theta, "--key", path(KEY), "--output", bundle,
        "--problems", str(size.problems), "--seed", str(args.seed),
    )  # fmt: skip
    demo.must("verify", bundle, "--problems", str(size.problems), "--seed", str(args.seed + 1))
    passed = demo.run(
        "hil", args.house, "--bundle", bundle, "--days", f"{size.bench_days:g}", "--output", path("bench"),
        "--json", path(BENCH),
    )  # fmt: skip
    bench = json.loads((demo.folder / BENCH).read_text(encoding="utf-8"))
    document = {
        "house": house.name, "verdict": evaluation["verdict"], "theta": chosen, "bundle": bundle,
        "bench_passed": bench["passed"], "took_s": demo.took_s, "evaluation": evaluation,
    }  # fmt: skip
    from pages.page import write_page

    report = demo.folder / "report.html"
    write_page(report, demo_page(document, size, bench))
    if args.json is not None:
        write_json(args.json, document)
    print(f"\n{evaluation['verdict']}\nbundle: {bundle} (theta: {chosen})")
    print(f"report: {report} ({time.monotonic() - began:.0f} s in all)")
    return EXIT_OK if passed == EXIT_OK else EXIT_CHECK_FAILED


def _learn(args: argparse.Namespace, size: DemoSize, demo: _Demo) -> dict[str, Any]:
    """Log, model, theta and verdict; what `nisse evaluate` says for machines."""
    house, path, seed = args.house, demo.path, str(args.seed)
    prices = [] if args.prices is None else ["--prices", str(args.prices)]
    demo.must(
        "example", house, "--output", str(demo.folder), "--days", str(size.log_days), "--seed", seed, "--force"
    )  # fmt: skip
    demo.must("identify", house, "--log", path(LOG), "--output", path(MODEL), "--page", path(MODEL_PAGE))
    demo.must(
        "tune", house, "--model", path(MODEL), *prices, "--output", path(THETA), "--seed", seed,
        "--iterations", str(size.iterations if args.iterations is None else args.iterations),
        "--episodes", str(size.episodes), "--held-in-weeks", str(size.held_in_weeks), "--held-out-weeks", "0",
        "--jobs", str(args.workers),
    )  # fmt: skip
    demo.must(
        "evaluate", house, "--model", path(MODEL), "--theta", path(THETA), *prices, "--seed", seed,
        "--weeks", str(size.weeks if args.weeks is None else args.weeks), "--search", "0",
        "--workers", str(args.workers), "--html", path(VERDICT), "--json", path(EVALUATION),
    )  # fmt: skip
    found: dict[str, Any] = json.loads((demo.folder / EVALUATION).read_text(encoding="utf-8"))
    return found


def _tuned_is_better(evaluation: dict[str, Any]) -> bool:
    """Against the data fit, which is the last of those that nothing was learned for."""
    savings = evaluation["policies"].get("tuned", {}).get("saving_against", {})
    found = [savings[name] for name in (UNBIASED, PLAIN) if savings.get(name) is not None]
    return bool(found) and found[0]["low"] > 0.0


def demo_page(document: dict[str, Any], size: DemoSize, bench: dict[str, Any]) -> Page:
    """What it came to first; the pages of its steps behind links."""
    from pages.page import Cell, Column, Link, Page, Table, text

    evaluation = document["evaluation"]
    money, weeks = evaluation["currency"], len(evaluation["weeks"])
    rows = [
        [name, f"{sum(policy['total_per_week']) / weeks:.2f}"] for name, policy in evaluation["policies"].items()
    ]  # fmt: skip
    verdict = document["verdict"]
    failing = [check["that"] for check in bench["predicates"] if not check["holds"]]
    held = "every condition held" if not failing else f"not held: {'; '.join(failing)}"
    steps: list[list[Cell | str]] = [
        [Cell(f"nisse {name}", code=""), f"{seconds:.0f}"]
        for name, seconds in document["took_s"].items()
    ]  # fmt: skip
    return Page(
        title=f"{document['house']}: from a log to the bench",
        lead=verdict[0].upper() + verdict[1:] + ".",
        about=f"a made-up log of {size.log_days} days; {weeks} held-out weeks; {evaluation['data']}",
        mood="plain" if not failing else "bad",
        blocks=[
            Table(
                f"What each policy costs, {money} a week",
                [Column("policy"), Column(f"total, {money}", number=True)],
                rows,
                note="Electricity and peaks, less what is left in store, plus discomfort as the house file prices it.",
            ),
            text("Its weeks, a typical and the worst day: ", Link("the page of the evaluation", VERDICT), "."),
            text("What the log taught of each asset: ", Link("the page of the model", MODEL_PAGE), "."),
            text(
                f"{size.bench_days:g} days of the real daemon with the {document['theta']} theta: {held}. ",
                Link("The page of the bench", "bench/report.html"),
                ".",
            ),
            Table("What each step took", [Column("step"), Column("s", number=True)], steps),
        ],
    )  # fmt: skip
