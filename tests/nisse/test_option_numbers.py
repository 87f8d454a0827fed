"""A number that an option cannot mean is told before the work, by every command that takes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nisse.cli import build_parser, main

TUNE, EVALUATE, BUILD = "tune battery", "evaluate battery", "build battery --key k.pem --output b.nisse"
REFUSED = {
    f"{TUNE} --held-in-weeks": ("0", "-1", "1.5", "many", "1000000000"),
    f"{TUNE} --held-out-weeks": ("1", "-1", "-3", "2.5", "nan"),
    f"{TUNE} --iterations": ("0", "-1", "1e9", "x"),
    f"{TUNE} --jobs": ("0", "-2", "100000"),
    f"{TUNE} --time-limit": ("0", "-1", "nan", "inf"),
    f"{TUNE} --max-gap-hours": ("-1", "-0.1", "nan", "inf", "1e9"),
    f"{TUNE} --exchange-rate": ("0", "-11.3", "nan", "inf", "x"),
    f"{TUNE} --seed": ("-1", "1.5", "99999999999999999999"),
    f"{TUNE} --episodes": ("0", "-1", "1e3"),
    f"{EVALUATE} --weeks": ("1", "0", "-1", "nan"),
    f"{EVALUATE} --workers": ("0", "-2", "100000"),
    f"{EVALUATE} --max-gap-hours": ("-1", "nan"),
    f"{EVALUATE} --seed": ("-1",),
    "example battery --seed": ("-1",),
    "example battery --days": ("0", "-1", "nan", "1e9"),
    f"{EVALUATE} --search": ("-1", "x"),
    f"{BUILD} --problems": ("0", "-1", "1e12"),
    f"{BUILD} --seed": ("-1",),
    "verify b.nisse --problems": ("0", "-1", "x"),
    "verify b.nisse --seed": ("-1",),
    "experiment lqr --transitions": ("0", "299", "-1"),
    "experiment in-sim --rollouts": ("1", "-1"),
    "experiment battery-tuning --jobs": ("0", "-1"),
    "experiment battery-tuning --penalty": ("0", "-1", "nan"),
    "experiment equivalence --states": ("0", "-1", "1000000"),
    "experiment optimal-model --discount": ("-0.1", "1.1", "nan"),
    "experiment smart-home --models": ("0", "-1"),
    "experiment smart-home --periods": ("1", "-1"),
    "experiment smart-home --confirm-periods": ("1", "-1"),
    "experiment smart-home --threads": ("0", "-1"),
    "experiment smart-home --beta": ("0", "nan"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_a_number_without_a_meaning_is_refused_before_the_work(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in REFUSED[option]:
        with pytest.raises(SystemExit) as refused:
            main([*option.split(), value])
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert refused.value.code == 2
        assert option.split()[-1] in error and ("give a " in error or "choose from" in error), (value, error)


@pytest.mark.parametrize(
    "arguments",
    [
        "tune villa --held-out-weeks 0 --held-in-weeks 1 --jobs 1 --time-limit 0.5 --max-gap-hours 0 --seed 0",
        "tune house.toml --held-out-weeks 2 --exchange-rate 11.3 --episodes 1",
        "evaluate flat --weeks 2 --search 0 --workers -1",
        "example battery --days 1",
    ],
)
def test_a_number_that_means_something_is_taken(arguments: str) -> None:
    build_parser(arguments.split()[0]).parse_args(arguments.split())


def test_too_few_weeks_for_a_verdict_are_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TUNE.split(), "--held-out-weeks", "90", "--output", str(tmp_path / "theta.json")]) == 65
    assert "90 held-out weeks asked for" in capsys.readouterr().err
