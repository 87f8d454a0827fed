"""The pages as HTML: what the house does, what is wanted of it, and the door. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from runtime.inputs.signals import USABLE
from runtime.publish.status_file import Status
from runtime.web.chart import chart
from runtime.web.picture import Picture, picture_of, spoken
from runtime.web.sentence import told

REFRESH_S = 30
OLD_S = 3600.0
LEVEL_WORDS = {
    "mpc": "planning ahead",
    "shifted_plan": "following the last plan",
    "rule": "following simple rules",
    "safe": "at safe values",
}
MODE_WORDS = {"auto": "plan ahead", "rule": "simple rules only", "safe": "safe values only"}


def house_page(status: Status, now_s: float, savings: str = "") -> str:
    """What is seen first. `now_s` is Unix time; `savings` a sentence, where there is one."""
    picture = picture_of(status.plan)
    said = told(status.state, picture, status.plan)
    more = "".join(f"<li>{escape(text)}</li>" for text in said.more)
    body = [
        f'<p class="doing" role="status">{escape(said.doing)}</p>',
        f'<ul class="more">{more}</ul>' if more else "",
        f"<p>{_level(status, now_s)}</p>",
        f"<p>{escape(savings)}</p>" if savings else "",
        _notices(status.state),
        _charts(picture),
        _wanted(status.state),
        _inputs(status, now_s),
        _outputs(status.state),
    ]
    return _document(status.site, "".join(body), here="/", refresh=True)


@dataclass(frozen=True)
class WishForm:
    """Something that can be said of comfort, by the name of its command; `kind` is number, away or hot_water."""

    name: str
    label: str
    kind: str
    value: str = ""
    seldom: bool = False
    """Shown where it is asked for."""


def settings_of(state: Mapping[str, Any]) -> list[WishForm]:
    """What can be said here; the daemon knows the bounds, and says them where something is beyond."""
    found = list[WishForm]()
    comfort = _mapping(_mapping(state.get("control")).get("comfort"))
    for asset, entry in comfort.items():
        wanted = _mapping(entry)
        usual = "set_point" if "set_point" in wanted else "lower"
        for part in ("set_point", "lower", "upper"):
            if isinstance(wanted.get(part), int | float):
                label = f"{spoken(str(asset))}, {part.replace('_', '-')}, °C"
                found.append(WishForm(f"{asset}_{part}", label, "number", f"{wanted[part]:g}", part != usual))
    if comfort:
        found.append(WishForm("away", "Away until, say 17:30 or 2026-12-24T18:00; empty: until you are back", "away"))
    if any("set_point" not in _mapping(entry) for entry in comfort.values()):
        found.append(WishForm("hot_water_now", "Hot water now", "hot_water"))
    return found


def wishes_page(status: Status, settings: Sequence[WishForm], token: str, answer: str = "", bad: bool = False) -> str:
    """Forms, one each; `answer` is what became of the last one."""
    control = _mapping(status.state.get("control"))
    said = f'<p role="alert" class="{"bad" if bad else "good"}">{escape(answer)}</p>' if answer else ""
    mode = str(control.get("mode", "auto"))
    choices = "".join(
        f'<option value="{name}"{" selected" if name == mode else ""}>{escape(words)}</option>'
        for name, words in MODE_WORDS.items()
    )
    forms = [
        _form(
            "mode",
            token,
            f'<div><label for="mode">Control</label><select id="mode" name="value">{choices}</select></div>',
        )
    ]
    forms += [_setting(setting, token) for setting in settings if not setting.seldom]
    seldom = "".join(_setting(setting, token) for setting in settings if setting.seldom)
    if seldom:
        forms.append(f"<details><summary>Bands</summary>{seldom}</details>")
    return _document(status.site, said + "".join(forms), here="/wishes")


def door_page(site: str, token: str, answer: str = "") -> str:
    said = f'<p role="alert" class="bad">{escape(answer)}</p>' if answer else ""
    body = (
        f'{said}<form method="post" action="/door"><input type="hidden" name="token" value="{token}">'
        '<div><label for="password">Password</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="200">'
        "</div><button>Open</button></form>"
    )
    return _document(site, body, here="/door")


def trouble_page(site: str, text: str) -> str:
    body = f'<p class="doing">Nothing is heard of the daemon.</p><p class="bad">{escape(text)}</p>'
    return _document(site, body, here="/", refresh=True)


def _document(site: str, body: str, *, here: str, refresh: bool = False) -> str:
    pages = {"/": "House", "/wishes": "Wishes"}
    links = " · ".join(
        f"<strong>{name}</strong>" if path == here else f'<a href="{path}">{name}</a>' for path, name in pages.items()
    )
    again = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(site)}</title>{again}'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="stylesheet" href="/nisse.css">'
        '<link rel="icon" href="data:,"></head>'
        f'<body><a class="skip" href="#main">To the content</a><main id="main"><header><h1>{escape(spoken(site))}</h1>'
        f'<nav aria-label="Pages">{links}</nav></header>{body}</main></body></html>'
    )


def _level(status: Status, now_s: float) -> str:
    level = str(status.state.get("level", ""))
    words = LEVEL_WORDS.get(level, "of unknown level")
    mode = str(_mapping(status.state.get("control")).get("mode", "auto"))
    age = None if status.written_s is None else max(0.0, now_s - status.written_s)
    when = "" if age is None else f", {_age(age)} ago"
    old = age is not None and age > OLD_S
    chosen = "" if mode == "auto" else f' <span class="bad">You chose: {escape(MODE_WORDS.get(mode, mode))}.</span>'
    kind = "good" if level == "mpc" and not old else "bad"
    return f'<span class="{kind}">The controller is {escape(words)}</span><span class="dim">{when}.</span>{chosen}'


def _notices(state: Mapping[str, Any]) -> str:
    found = [(str(subject), str(text)) for subject, text in _mapping(state.get("notices")).items() if text]
    if not found:
        return ""
    rows = "".join(f"<li><strong>{escape(spoken(s))}</strong>: {escape(t[:500])}</li>" for s, t in found[:20])
    return f'<section aria-labelledby="n"><h2 id="n">Notices</h2><ul class="bad">{rows}</ul></section>'


def _charts(picture: Picture | None) -> str:
    if picture is None:
        return '<p class="dim">There is no plan to draw.</p>'
    hours = picture.hours
    drawn = "".join(
        f"<figure><figcaption>{escape(panel.title)}{f', {escape(panel.unit)}' if panel.unit else ''}</figcaption>"
        f"{chart(panel, picture.start, hours)}</figure>"
        for panel in picture.panels
    )
    title = f'<h2 id="p">The next {hours:.0f} hours</h2>'
    return f'<section aria-labelledby="p">{title}<div class="charts">{drawn}</div></section>'


def _wanted(state: Mapping[str, Any]) -> str:
    rows = []
    for asset, wanted in _mapping(_mapping(state.get("control")).get("comfort")).items():
        wanted = _mapping(wanted)
        target, low, high = (_degrees(wanted.get(part)) for part in ("set_point", "lower", "upper"))
        band = f"{low}&nbsp;to {high}&nbsp;°C" if low and high else ""
        by = str(wanted.get("by", "")).replace("_", " ")
        until = f" until {_moment(str(wanted['until']))}" if wanted.get("until") else ""
        cells = f'<td class="number">{target}</td><td class="number wraps">{band}</td><td>{escape(by + until)}</td>'
        rows.append(f"<tr><th scope=row>{escape(spoken(str(asset)))}</th>{cells}</tr>")
    return _table("Wanted", ("", "Set-point", "Band", "By"), rows, ("Set-point", "Band"))


def _inputs(status: Status, now_s: float) -> str:
    since = 0.0 if status.written_s is None else max(0.0, now_s - status.written_s)
    rows = []
    wanted = _mapping(_mapping(status.state.get("control")).get("comfort"))
    shown_above = {f"{asset}_{part}" for asset in wanted for part in ("set_point", "lower", "upper")}
    for name, entry in _mapping(status.state.get("inputs")).items():
        if name in shown_above:
            continue
        entry = _mapping(entry)
        value, age, validity = entry.get("value"), entry.get("age_s"), str(entry.get("validity", ""))
        shown = "–" if not isinstance(value, int | float) else f"{value:.4g} {_unit(entry.get('unit'))}"
        old = _age(age + since) if isinstance(age, int | float) else ""
        problem = ": ".join(text for text in (validity, str(entry.get("problem") or "")) if text not in ("", "ok"))
        rows.append(
            f'<tr><th scope=row>{escape(spoken(str(name)))}</th><td class="number">{escape(shown)}</td>'
            f'<td class="number">{old}</td></tr>'
        )
        if problem:
            kind = "" if validity in USABLE else ' class="bad"'
            rows.append(f"<tr><td colspan=3{kind}>{escape(problem[:300])}</td></tr>")
    return _table("What is known", ("", "Value", "Age"), rows, ("Value", "Age"))


def _outputs(state: Mapping[str, Any]) -> str:
    rows = []
    for name, entry in _mapping(state.get("outputs")).items():
        entry = _mapping(entry)
        value = entry.get("value")
        shown = f"{value:.4g}" if isinstance(value, int | float) else "–"
        problem = str(entry.get("problem") or "")
        verdict = f'<span class="bad">{escape(problem[:300])}</span>' if problem else "in force"
        rows.append(
            f'<tr><th scope=row>{escape(spoken(str(name)))}</th><td class="number">{shown}</td><td>{verdict}</td></tr>'
        )
    return _table("Set-points", ("", "Value", ""), rows, ("Value",))


def _table(title: str, heads: Sequence[str], rows: Sequence[str], numbers: Sequence[str]) -> str:
    """numbers: those of the heads that stand over numbers."""
    if not rows:
        return ""
    kinds = (' class="number"' if name in numbers else "" for name in heads)
    head = "".join(f"<th scope=col{kind}>{name}</th>" for name, kind in zip(heads, kinds, strict=True))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<section><h2>{title}</h2><div class="wide" tabindex="0">{table}</div></section>'


def _form(name: str, token: str, inside: str, button: str = "Set") -> str:
    return (
        f'<form method="post" action="/wishes"><input type="hidden" name="token" value="{token}">'
        f'<input type="hidden" name="name" value="{escape(name)}">{inside}<button>{button}</button></form>'
    )


def _setting(setting: WishForm, token: str) -> str:
    name, label = escape(setting.name), escape(setting.label)
    if setting.kind == "hot_water":
        return _form(
            setting.name,
            token,
            f'<div><label>{label}</label><input type="hidden" name="value" value="on"></div>',
            "Heat",
        )
    if setting.kind == "away":
        field = f'<div><label for="{name}">{label}</label><input id="{name}" name="until" maxlength="40"></div>'
        gone = _form(setting.name, token, f'{field}<input type="hidden" name="value" value="on">', "Away")
        return gone + _form(setting.name, token, '<input type="hidden" name="value" value="off">', "I am back")
    number = (
        f'<div><label for="{name}">{label}</label><input id="{name}" name="value" type="number" step="0.5" '
        f'min="5" max="90" value="{escape(setting.value)}" required></div>'
        f'<div><label for="{name}-until">until (empty: the schedule\'s next change)</label>'
        f'<input id="{name}-until" name="until" maxlength="40"></div>'
    )
    return _form(setting.name, token, number)


def _unit(unit: object) -> str:
    return {"1": "", "degC": "°C", "None": ""}.get(str(unit), str(unit))


def _degrees(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else ""


def _moment(text: str) -> str:
    """The weekday and the time of an ISO date; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(text):%a %H:%M}"
    except ValueError:
        return text


def _age(seconds: float) -> str:
    for limit, size, name in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 86400.0:.0f} days"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
