"""The ARX model of a house: room temperatures from an hour of their past, outdoor temperature and heat-pump powers.

    y_{t+1} = sum_{i=1..L} A_i y_{t+1-i} + sum_{i=1..L} B_i u_{t+1-i} + e_{t+1},     e ~ N(mu, Sigma)

Source: "All AI Models are Wrong, but Some are Optimal", eq. (37): with e it is the simulated reality, without it
(eq. 38) the data-fitted model. y: room temperatures (°C). u_t: outdoor temperature (°C), then one electrical power per
room (kW), all held over [t, t+1).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.formats.documents import parse_json
from runtime.formats.plain_files import read_text

Array = NDArray[np.float64]
FORMAT = "nisse-arx-1"


class ArxFormatError(ValueError):
    """An ARX file or coefficient set that cannot be used."""

    exit_code = 65


@dataclass(frozen=True, eq=False)
class ObserverForm:
    """x_{t+1} = A x_t + B u_t + K e_{t+1}, y_t = C x_t; the smallest state in which the ARX needs no history.

    Block j of x collects what the past still adds to the output j - 1 steps ahead, so block 1 is y itself.
    """

    A: Array
    B: Array
    C: Array
    K: Array


@dataclass(frozen=True, eq=False)
class ArxModel:
    """Frozen coefficients; L lags, ny zones, nu inputs: the weather, then the power of whatever heats."""

    output_coefficients: Array
    """A_1..A_L, shape (L, ny, ny), 1."""
    input_coefficients: Array
    """B_1..B_L, shape (L, ny, nu), K/K for the outdoor temperature, K/kW for powers."""
    innovation_mean: Array
    """mu, shape (ny,), K per step."""
    innovation_covariance: Array
    """Sigma, shape (ny, ny), K^2 per step."""
    dt_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("output_coefficients", "input_coefficients", "innovation_mean", "innovation_covariance"):
            value = np.array(getattr(self, name), dtype=float)
            if not np.isfinite(value).all():
                raise ArxFormatError(f"{name} of the ARX model is not finite; fit the model again")
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        lags, ny = self.output_coefficients.shape[:2]
        nu = self.input_coefficients.shape[-1] if self.input_coefficients.ndim == 3 else 1
        shapes = ((lags, ny, ny), (lags, ny, nu), (ny,), (ny, ny))
        got = (
            self.output_coefficients.shape,
            self.input_coefficients.shape,
            self.innovation_mean.shape,
            self.innovation_covariance.shape,
        )
        if got != shapes:
            raise ArxFormatError(f"ARX arrays A, B, mu, Sigma have shapes {got}; they must be {shapes}")

    @property
    def lags(self) -> int:
        return int(self.output_coefficients.shape[0])

    @property
    def ny(self) -> int:
        return int(self.output_coefficients.shape[1])

    @property
    def nu(self) -> int:
        return int(self.input_coefficients.shape[2])

    @property
    def nx(self) -> int:
        """Dimension of the observer form."""
        return self.lags * self.ny

    # -- theta ---------------------------------------------------------------------------------------------------------

    def to_vector(self) -> Array:
        """(L ny ny + L ny nu,): A_1..A_L then B_1..B_L, row-major."""
        return np.concatenate([self.output_coefficients.ravel(), self.input_coefficients.ravel()])

    def with_vector(self, theta: ArrayLike) -> ArxModel:
        """The same model with the coefficients of `to_vector` replaced."""
        values = np.asarray(theta, dtype=float)
        split = self.output_coefficients.size
        return replace(
            self,
            output_coefficients=values[:split].reshape(self.output_coefficients.shape),
            input_coefficients=values[split:].reshape(self.input_coefficients.shape),
        )

    def deterministic(self) -> ArxModel:
        """The expected-value model of eq. (38): no innovations, and no mean of them either."""
        return replace(
            self,
            innovation_mean=np.zeros(self.ny),
            innovation_covariance=np.zeros((self.ny, self.ny)),
        )

    # -- state space ---------------------------------------------------------------------------------------------------

    @cached_property
    def observer_form(self) -> ObserverForm:
        """Shapes (nx, nx), (nx, nu), (ny, nx), (nx, ny)."""
        ny, nx = self.ny, self.nx
        A = np.eye(nx, k=ny)
        A[:, :ny] += self.output_coefficients.reshape(nx, ny)
        return ObserverForm(A, self.input_coefficients.reshape(nx, self.nu).copy(), np.eye(ny, nx), np.eye(nx, ny))

    def state_from_history(self, outputs: ArrayLike, inputs: ArrayLike) -> Array:
        """Exact observer state (..., nx) at time t.

        outputs: (..., L, ny), rows y_{t-L+1} .. y_t. inputs: (..., L - 1, nu), rows u_{t-L+1} .. u_{t-1}.
        """
        y, u = np.asarray(outputs, dtype=float), np.asarray(inputs, dtype=float)
        if y.shape[-2:] != (self.lags, self.ny) or u.shape[-2:] != (self.lags - 1, self.nu):
            raise ValueError(
                f"history has shapes {y.shape} and {u.shape}; the last axes must be "
                f"{(self.lags, self.ny)} and {(self.lags - 1, self.nu)}"
            )
        blocks = [y[..., -1, :]]
        for j in range(1, self.lags):
            # Block j + 1 holds the terms of lags i = j+1..L, which meet the values i - j steps back.
            past_y, past_u = y[..., j - 1 : self.lags - 1, :][..., ::-1, :], u[..., j - 1 :, :][..., ::-1, :]
            blocks.append(
                np.einsum("iab,...ib->...a", self.output_coefficients[j:], past_y)
                + np.einsum("iab,...ib->...a", self.input_coefficients[j:], past_u)
            )
        return np.concatenate(blocks, axis=-1)

    @cached_property
    def _step_matrix(self) -> Array:
        """(ny + nu, nx): what the newest output and input add to every block."""
        return np.hstack(
            [self.output_coefficients.reshape(self.nx, self.ny), self.input_coefficients.reshape(self.nx, self.nu)]
        ).T.copy()

    def step(self, state: Array, inputs: Array, innovation: Array | float = 0.0) -> Array:
        """x_{t+1} of shape (..., nx) from x_t (..., nx), u_t (..., nu), e_{t+1} (..., ny); uses the shift structure."""
        ny = self.ny
        after = np.concatenate([state[..., :ny], inputs], axis=-1) @ self._step_matrix
        after[..., :-ny] += state[..., ny:]
        after[..., :ny] += innovation
        return after

    def simulate(
        self, state: ArrayLike, inputs: ArrayLike, innovations: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Outputs y_1 .. y_T (..., T, ny) and the final state x_T (..., nx).

        From x_0 (..., nx), inputs (..., T, nu) and innovations e_1 .. e_T (..., T, ny), zero when not given. Leading
        axes are a batch.
        """
        x, u = np.asarray(state, dtype=float), np.asarray(inputs, dtype=float)
        steps = u.shape[-2]
        batch = np.broadcast_shapes(x.shape[:-1], u.shape[:-2])
        x, u = np.broadcast_to(x, (*batch, self.nx)), np.broadcast_to(u, (*batch, *u.shape[-2:]))
        e = None if innovations is None else np.asarray(innovations, dtype=float)
        y = np.empty((*batch, steps, self.ny))
        for t in range(steps):
            x = self.step(x, u[..., t, :], 0.0 if e is None else e[..., t, :])
            y[..., t, :] = x[..., : self.ny]
        return y, x

    def sample_innovations(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draws (*shape, ny) from N(mu, Sigma), K."""
        values, vectors = np.linalg.eigh(self.innovation_covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self.innovation_mean + rng.standard_normal((*shape, self.ny)) @ root.T)

    # -- what a person wants to know of it -----------------------------------------------------------------------------

    @cached_property
    def spectral_radius(self) -> float:
        """Largest modulus of a pole; the model is stable below 1."""
        return float(np.abs(np.linalg.eigvals(self.observer_form.A)).max())

    @cached_property
    def slowest_time_constant_h(self) -> float:
        """Of the slowest pole, h; infinite for an unstable model."""
        rho = self.spectral_radius
        return float("inf") if rho >= 1.0 else -self.dt_s / 3600.0 / float(np.log(rho))

    def steady_state_gain(self) -> Array:
        """(ny, nu): K per K of outdoor temperature, then K per kW of each heat pump, with everything else held."""
        return np.linalg.solve(np.eye(self.ny) - self.output_coefficients.sum(0), self.input_coefficients.sum(0))

    def response_gain(self, hours: float) -> Array:
        """(ny, nu): rise of each room this long after a unit step of each input, K/K and K/kW."""
        steps = max(1, round(hours * 3600.0 / self.dt_s))
        unit = np.broadcast_to(np.eye(self.nu)[:, None, :], (self.nu, steps, self.nu))
        return self.simulate(np.zeros((self.nu, self.nx)), unit)[0][:, -1, :].T

    def steady_state(self, inputs: ArrayLike) -> Array:
        """Observer state (nx,) at rest under constant inputs (nu,) and e = 0."""
        y = self.steady_state_gain() @ np.asarray(inputs, dtype=float)
        return self.resting_state(y, inputs)

    def resting_state(self, outputs: ArrayLike, inputs: ArrayLike) -> Array:
        """Observer state (nx,) whose last hour showed constant outputs (ny,) under constant inputs (nu,)."""
        return self.state_from_history(
            np.tile(np.asarray(outputs, dtype=float), (self.lags, 1)),
            np.tile(np.asarray(inputs, dtype=float), (self.lags - 1, 1)),
        )

    # -- file ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Text that `from_json` reads back to the same bits."""
        document = {
            "format": FORMAT,
            "dt_s": self.dt_s,
            "output_coefficients": self.output_coefficients.tolist(),
            "input_coefficients": self.input_coefficients.tolist(),
            "innovation_mean": self.innovation_mean.tolist(),
            "innovation_covariance": self.innovation_covariance.tolist(),
        }
        return json.dumps(document, indent=None, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str, *, name: str = "ARX model") -> ArxModel:
        """Raises ArxFormatError, which names what is wrong in the file `name`."""
        try:
            document = parse_json(text)
        except ValueError as error:
            raise ArxFormatError(f"{name}: not JSON ({error}); write it with `nisse identify`") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArxFormatError(f"{name}: not a {FORMAT} file; write it with `nisse identify`")
        try:
            return cls(
                output_coefficients=np.array(document["output_coefficients"], dtype=float),
                input_coefficients=np.array(document["input_coefficients"], dtype=float),
                innovation_mean=np.array(document["innovation_mean"], dtype=float),
                innovation_covariance=np.array(document["innovation_covariance"], dtype=float),
                dt_s=float(document["dt_s"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArxFormatError(f"{name}: {error}; write it again with `nisse identify`") from error

    def save(self, path: Path) -> None:
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ArxModel:
        """Raises ArxFormatError for a file that cannot be read, or is none."""
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            remedy = "name a file written by `nisse identify`"
            raise ArxFormatError(f"{path}: {reason}; {remedy}") from error
        return cls.from_json(text, name=str(path))
