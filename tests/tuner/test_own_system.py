"""A researcher's own system: the example of the docs learns as they say, and a wrong file is a line with a remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nisse.cli import main

PAGE = Path(__file__).parents[2] / "docs/guide/your-system.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
TINY = ["--iterations", "1", "--episodes", "1", "--held-in-weeks", "2", "--held-out-weeks", "2", "--jobs", "1"]


def saved(folder: Path, text: str) -> str:
    path = folder / "my_system.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_example_of_the_docs_learns_to_keep_its_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theta, out = tmp_path / "theta.json", tmp_path / "out.json"
    command = ["tune", saved(tmp_path, EXAMPLE), "--output", str(theta), "--json", str(out), "--jobs", "1"]
    assert main([*command, "--iterations", "3"]) == 0
    told, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "tuning saves" in told and found["saving"]["low"] > 0.0 and not found["kept_old"]
    assert found["saving"]["n"] == 32
    written = json.loads(theta.read_text())
    assert written["system"] == "cart" and written["provenance"]["theta"] == "tuned"
    # Gusts of 0.15 m/s a step: a few centimetres, and the mass was right.
    assert 0.01 < written["theta"]["backoff"] < 0.06 and abs(written["theta"]["mass"] - 1.0) < 0.15
    # One more iteration from the checkpoint is what four at once are.
    assert main([*command, "--iterations", "4", "--resume"]) == 0
    assert len(json.loads(out.read_text())["history"]) == 4


WRONG: dict[str, tuple[str, str, str]] = {
    "syntax": ("def reset(self", "def reset(self,,", r"my_system.py:\d+: SyntaxError"),
    "a name": ("gust = 0.15", "gust = wind", r"World.step raised .*my_system.py:\d+: NameError: name 'wind'"),
    "no problem": ("def problem() -> Problem", "def program() -> Problem", "`problem` is NoneType; define it as"),
    "sizes": ('ca.SX.sym("d", 0)', 'ca.SX.sym("d", 2)', "dynamics takes 2 numbers as d, and the problem names 0"),
    "prices": ("soft_penalty=SoftPenalty((0.0,), (2 * BUMP,)),\n        soft_terminal=",
               "soft_penalty=SoftPenalty((0.0, 0.0), (2 * BUMP, 1.0)),\n        soft_terminal=",
               "soft gives 1 numbers where 2 are due; give one price a row"),
    "no world": ("class World:", "class Plant:", "there is no class `World`; define World with"),
    "no step": ("def step(", "def move(", r"World has no step\(\); define"),
    "shape": ("return self.state, np.zeros((HORIZON + 1, 0))", "return self.state[:1], np.zeros((HORIZON + 1, 0))",
              r"state of observe\(\) has shape \(1,\); the problem's is \(2,\)"),
    "no pair": ("return self.state, np.zeros((HORIZON + 1, 0))", "return self.state[0]", "must return .state"),
    "cost": ("        return cost\n", "        return None\n", r"step\(\) returned None; return the cost"),
    "random": ("self.rng.standard_normal()", "np.random.default_rng().normal()", "episodes of the same seed differ"),
    "steps": ("steps = 120", "steps = 2", "at least 4 decisions"),
    "learn": ("steps = 120", 'learn = "backoff"\nsteps = 120', "write it as a tuple"),
    "unknown": ("steps = 120", 'learn = ("backof",)\nsteps = 120', "no 'backof' to learn; choose among"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_a_line_with_a_remedy(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, says = WRONG[case]
    assert good in EXAMPLE
    code = main(["tune", saved(tmp_path, EXAMPLE.replace(good, bad)), "--output", str(tmp_path / "t.json"), *TINY])
    error = capsys.readouterr().err
    assert code in (2, 65) and error.count("\n") == 1, error
    assert re.search(says, error), error


def test_what_belongs_to_houses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, EXAMPLE)
    assert main(["tune", path, "--prices", "p.csv", "--output", str(tmp_path / "t.json")]) == 2
    assert "--prices: of houses only" in capsys.readouterr().err
    assert main(["tune", str(tmp_path / "nothing.py"), "--output", str(tmp_path / "t.json")]) == 65
    assert "nothing.py: No such file" in capsys.readouterr().err
