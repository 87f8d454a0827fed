"""Compiles the C of this folder for the machine at hand, once, and shows it to Python.

The library is a tool of the tuner, never part of a bundle: it may use every instruction this machine has.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from codegen.compilers import command_of
from codegen.errors import CompileError
from codegen.targets import cache_directory

SOURCES = ("arx.c", "contract.c", "dense.c", "newton.c", "qp_memory.c", "qp.c", "mpc.c", "sensitivity.c", "batch.c")
HEADERS = ("arx.h", "contract.h", "dense.h", "newton.h", "qp.h", "mpc.h", "batch.h")
FLAGS = (
    "-O3", "-march=native", "-std=c11", "-fopenmp-simd", "-Wall", "-Wextra", "-fPIC", "-shared",
    # ISO C forbids the first and interposable symbols the inlining: both are a factor of two in the kernels.
    "-ffp-contract=fast", "-fno-semantic-interposition",
)  # fmt: skip

double_p = ctypes.POINTER(ctypes.c_double)
int_p = ctypes.POINTER(ctypes.c_int32)


class MpcConfig(ctypes.Structure):
    """`mpc_config` of mpc.h."""

    _fields_ = (
        ("horizon", ctypes.c_int),
        ("apply", ctypes.c_int),
        ("moves", ctypes.c_int),
        ("decision", ctypes.c_int),
        ("dt_h", ctypes.c_double),
        ("discount", ctypes.c_double),
        ("power_max", ctypes.c_double * 4),
        ("set_point", ctypes.c_double),
        ("low", ctypes.c_double),
        ("high", ctypes.c_double),
        ("beta", ctypes.c_double),
        ("penalty", ctypes.c_double),
        ("regularisation", ctypes.c_double),
    )


class SolveJob(ctypes.Structure):
    """`solve_job` of batch.h."""

    _fields_ = (
        ("model", ctypes.c_void_p),
        *((name, double_p) for name in ("history_y", "history_v", "outdoor", "price", "first")),
        *(
            (name, double_p)
            for name in ("action", "plan_u", "plan_y", "value_gradient", "policy_jacobian", "action_inverse")
        ),
        ("value", double_p),
        ("residual", double_p),
        ("status", int_p),
        ("iterations", int_p),
    )


class EpisodeJob(ctypes.Structure):
    """`episode_job` of batch.h."""

    _fields_ = (
        ("model", ctypes.c_void_p),
        *((name, double_p) for name in ("world_a", "world_b", "history_y", "history_v")),
        *((name, double_p) for name in ("outdoor", "price", "innovations", "exploration")),
        ("decisions", ctypes.c_int32),
        *((name, double_p) for name in ("y", "policy", "action", "value", "costs")),
        ("status", int_p),
        ("iterations", int_p),
        ("value_gradient", double_p),
        ("policy_jacobian", double_p),
        ("action_inverse", double_p),
        ("with_arx", ctypes.c_int32),
        ("seconds", ctypes.c_double * 2),
    )


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return os.uname().machine
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


def build(cache: Path) -> Path:
    """The shared library in `cache`, compiled if it is not there. Raises CompileError."""
    folder = Path(__file__).parent
    compiler = os.environ.get("CC", "cc")
    digest = hashlib.sha256(" ".join((compiler, *FLAGS, _processor())).encode())
    for name in (*SOURCES, *HEADERS):
        digest.update((folder / name).read_bytes())
    library = cache / "condensed" / f"{digest.hexdigest()[:20]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        output = Path(scratch) / "condensed.so"
        sources = [str(folder / name) for name in SOURCES]
        command = [*command_of(compiler), *FLAGS, "-o", str(output), *sources, "-lm", "-lpthread"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise CompileError(
                f"no C compiler {compiler!r}: install one (Debian: apt install gcc) or set CC"
            ) from error
        except subprocess.CalledProcessError as error:
            raise CompileError(
                f"{compiler} refused the condensed solver; its first words: {error.stderr[:300]}"
            ) from error
        output.replace(library)
    return library


@functools.cache
def load(cache: Path | None = None) -> ctypes.CDLL:
    """The library with its prototypes set; raises CompileError."""
    library = ctypes.CDLL(str(build(cache or cache_directory())))
    library.model_new.restype = ctypes.c_void_p
    library.model_new.argtypes = (ctypes.POINTER(MpcConfig), int_p)
    library.model_free.argtypes = (ctypes.c_void_p,)
    library.model_free.restype = None
    library.mpc_set_theta.argtypes = (ctypes.c_void_p, double_p)
    library.mpc_set_theta.restype = None
    library.model_n_theta.restype = ctypes.c_int
    library.run_solves.argtypes = (ctypes.POINTER(SolveJob), ctypes.c_int, ctypes.c_int)
    library.run_episodes.argtypes = (ctypes.POINTER(EpisodeJob), ctypes.c_int, ctypes.c_int)
    return library
