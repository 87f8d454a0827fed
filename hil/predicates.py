"""Predicates over a run: `soc >= 0.03`, `level_seconds.safe == 0`, `recovery_s <= 2 * cycle`, `0.1 <= mean(soc) < 0.9`.

A small part of Python's expression grammar, evaluated over two kinds of names: signals (one value per cycle; a
comparison must hold in every cycle) and indicators (one value per run). A value that is missing (NaN) never satisfies a
comparison: what was not seen is not proved.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.formats.toml_lines import did_you_mean

Value = float | NDArray[np.float64]

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "abs": np.abs,
    "min": lambda v: float(np.min(v)),
    "max": lambda v: float(np.max(v)),
    "mean": lambda v: float(np.mean(v)),
    "final": lambda v: float(np.atleast_1d(v)[-1]),
}
CONSTANTS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


class PredicateError(ValueError):
    """A predicate cannot be understood; the message says where and what to write."""


@dataclass(frozen=True)
class PredicateOutcome:
    """What became of a predicate: `holds`; if not, in how many cycles, the first of them, and the values there."""

    text: str
    holds: bool
    failures: int = 0
    first_failure: int | None = None
    """Index of the first cycle where it did not hold; None for a predicate over indicators."""
    detail: str = ""


@dataclass(frozen=True)
class Predicate:
    """A parsed predicate. Make one with `parse`."""

    text: str
    comparison: ast.Compare

    def names(self) -> frozenset[str]:
        return frozenset(_dotted(node) for node in _outermost_names(self.comparison))

    def evaluate(self, signals: Mapping[str, NDArray[np.float64]], indicators: Mapping[str, float]) -> PredicateOutcome:
        """Check against a run: `signals` are arrays of one length (cycles), `indicators` plain numbers."""
        sides, holds = self._compare({**CONSTANTS, **indicators, **signals})
        everywhere = np.atleast_1d(np.asarray(holds))
        if everywhere.size and everywhere.all():
            return PredicateOutcome(self.text, True, detail=self._seen(sides, None))
        if everywhere.size == 0:
            return PredicateOutcome(self.text, False, detail="no cycle in the window")
        first = int(np.argmin(everywhere))
        is_signal = np.ndim(holds) > 0
        return PredicateOutcome(
            self.text,
            False,
            int((~everywhere).sum()),
            first if is_signal else None,
            self._seen(sides, first if is_signal else None),
        )

    def holds(self, signals: Mapping[str, NDArray[np.float64]], indicators: Mapping[str, float]) -> NDArray[np.bool_]:
        """Where it holds: per cycle, or one value when no signal is compared."""
        return np.atleast_1d(np.asarray(self._compare({**CONSTANTS, **indicators, **signals})[1]))

    def _compare(self, values: Mapping[str, Value]) -> tuple[list[Value], NDArray[np.bool_] | np.bool_]:
        """The values of all sides, and whether the comparison holds, per cycle if a signal is in it."""
        holds: NDArray[np.bool_] | np.bool_ = np.bool_(True)
        with np.errstate(invalid="ignore", divide="ignore"):
            sides = [_value(node, values) for node in (self.comparison.left, *self.comparison.comparators)]
            for left, right, sign in zip(sides, sides[1:], self.comparison.ops, strict=False):
                both_known = ~(np.isnan(left) | np.isnan(right))
                holds = holds & both_known & COMPARISONS[type(sign)](left, right)
        return sides, holds

    def _seen(self, sides: list[Value], index: int | None) -> str:
        """The values of the non-constant sides: at `index`, or their range."""
        texts = []
        for node, side in zip((self.comparison.left, *self.comparison.comparators), sides, strict=True):
            if isinstance(node, ast.Constant):
                continue
            name = ast.unparse(node)
            if np.ndim(side) == 0:
                texts.append(f"{name} = {float(side):.6g}")
            elif index is not None:
                texts.append(f"{name} = {np.asarray(side)[index]:.6g}")
            else:
                texts.append(f"{name} in {np.min(side):.4g} .. {np.max(side):.4g}")
        return ", ".join(texts)


def parse(text: str, known: Iterable[str]) -> Predicate:
    """Parse `text`; `known` are the names it may use (signals and indicators).

    Raises:
        PredicateError: not a comparison, an unknown name (with the nearest known one), or something not offered.
    """
    known = sorted({*known, *CONSTANTS})
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise PredicateError(f"cannot read {text!r}: write a comparison such as `soc >= 0.03`") from error
    if not isinstance(tree, ast.Compare):
        raise PredicateError(f"{text!r} compares nothing: write a comparison such as `soc >= 0.03`")
    for sign in tree.ops:
        if type(sign) not in COMPARISONS:
            raise PredicateError(f"{text!r}: only < <= > >= == != compare")
    for node in (tree.left, *tree.comparators):
        _check(node, text, known)
    return Predicate(" ".join(text.split()), tree)


def _check(node: ast.expr, text: str, known: list[str]) -> None:
    match node:
        case ast.Constant(value=value) if isinstance(value, int | float) and not isinstance(value, bool):
            return
        case ast.Name() | ast.Attribute():
            name = _dotted(node)
            if name not in known:
                raise PredicateError(f"{text!r}: no quantity is called {name!r}{did_you_mean(name, known)}")
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            _check(node.left, text, known)
            _check(node.right, text, known)
        case ast.UnaryOp(op=ast.USub()):
            _check(node.operand, text, known)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            _check(argument, text, known)
        case _:
            raise PredicateError(
                f"{text!r}: {ast.unparse(node)!r} is not offered; use numbers, names, + - * /, "
                f"{', '.join(f'{name}()' for name in FUNCTIONS)}"
            )


def _dotted(node: ast.expr) -> str:
    """`level_seconds.safe` as written."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=attribute):
            return f"{_dotted(inner)}.{attribute}"
    raise PredicateError(f"{ast.unparse(node)!r} is not a name")


def _outermost_names(node: ast.AST) -> Iterable[ast.expr]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
        return
    children = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in children:
        yield from _outermost_names(child)


def _value(node: ast.expr, values: Mapping[str, Value]) -> Value:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]
        case ast.Name() | ast.Attribute():
            return values[_dotted(node)]
        case ast.BinOp(left=left, op=op, right=right):
            both: Value = ARITHMETIC[type(op)](np.asarray(_value(left, values)), np.asarray(_value(right, values)))
            return both
        case ast.UnaryOp(operand=operand):
            return -_value(operand, values)
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return FUNCTIONS[name](_value(argument, values))
    raise PredicateError(f"{ast.unparse(node)!r} is not offered")  # parse() has refused it before
