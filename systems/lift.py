"""Fine model steps inside one held decision, in matrices.

    x+ = A x + B u + E w_i + b,   y_i = (x after step i)[:rows],   i = 1..n,   u held

is lifted to x+ = A^n x + ..., and the n outputs on the way are linear in x, u, all w_i and b as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from systems.block import Symbols


@dataclass(frozen=True)
class Lifted:
    """Matrices of a stage by what they multiply: `state` (nx, .) gives x+, `outputs` (n rows, .) gives [y_1; ..; y_n].

    Keys: "x" (nx columns), "u" (nu), "w" (n nw: w_1 first), "b" (1).
    """

    state: dict[str, Symbols]
    outputs: dict[str, Symbols]


def lift(a: Symbols, b: Symbols, e: Symbols, offset: Symbols, *, steps: int, rows: int) -> Lifted:
    """a (nx, nx), b (nx, nu), e (nx, nw), offset (nx, 1): matrix symbols of one kind."""
    import casadi as ca

    nx, nu, nw = a.shape[0], b.shape[1], e.shape[1]
    kind = type(a)
    x_x, x_u, x_b = kind(ca.DM.eye(nx)), kind(ca.DM.zeros(nx, nu)), kind(ca.DM.zeros(nx, 1))
    x_w = kind(ca.DM.zeros(nx, steps * nw))
    outputs: dict[str, list[Symbols]] = {"x": [], "u": [], "w": [], "b": []}
    for i in range(steps):
        enters = ca.DM.zeros(nw, steps * nw)
        enters[:, i * nw : (i + 1) * nw] = ca.DM.eye(nw)
        x_x, x_u, x_b = a @ x_x, a @ x_u + b, a @ x_b + offset
        x_w = a @ x_w + e @ kind(enters)
        for name, matrix in zip(outputs, (x_x, x_u, x_w, x_b), strict=True):
            outputs[name].append(matrix[:rows, :])
    stacked = {name: ca.vertcat(*blocks) for name, blocks in outputs.items()}
    return Lifted({"x": x_x, "u": x_u, "w": x_w, "b": x_b}, stacked)
