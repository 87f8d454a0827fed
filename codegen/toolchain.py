"""Which acados is used: the user's own, one in the cache, or the newest known wheel, once it has solved a problem.

The wheel that carries acados also holds a `casadi` package that would overwrite the real one, so it is never
installed: its `acados/` folder alone goes into the cache. After the first time everything works without a network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from codegen.compilers import find_compiler
from codegen.errors import ToolchainError
from codegen.proof import Unfit, prove
from codegen.targets import cache_directory, host_arch, target_arch
from codegen.tree import AcadosTree, own_tree, wheel_tree
from codegen.verify import emulator_for
from codegen.wheels import DownloadError, Pin, wheel_to_cache

ACADOS_PACKAGE = "comma-deps-acados"
OWN = "ACADOS_SOURCE_DIR"
PROOF = "proof.json"
PROOF_VERSION = 1
"""Another number, and every acados is proved again."""

# Newest first. Old post-releases disappear from the index, so more than one is known.
ACADOS_PINS = (
    Pin(ACADOS_PACKAGE, "0.2.2.post104", "x86_64", "1224378363a76acf22e0a9a8907c66f25cd619bb10e424e49204269755cb8486"),
    Pin(ACADOS_PACKAGE, "0.2.2.post104", "aarch64", "92768c6b6ee4aa40156307f7861079d0c1989fe53cccb100514e83bb79e9b506"),
    Pin(ACADOS_PACKAGE, "0.2.2.post92", "x86_64", "fb317ea65c68d410e19b46f824c333203a097d02dac6fbbdc1f378c2b32b456f"),
    Pin(ACADOS_PACKAGE, "0.2.2.post92", "aarch64", "d71088e2cd2d92f9ad046700f39eaa45e40109d20eefc05a034b0c4cbbdd12d8"),
    Pin(ACADOS_PACKAGE, "0.2.2.post91", "x86_64", "2f30a9227d1aeda2008ec4f8274c258a47e56d03f0ce9ec1ee0864b7e1a1e586"),
    Pin(ACADOS_PACKAGE, "0.2.2.post91", "aarch64", "583162136f02ee573597bd8c5ab79d5c701fb90838580408cba98f46407dd73f"),
)

Prover = Callable[[AcadosTree, Path, Path], str]
"""(tree, renderer, cache) -> how it was proved. Raises Unfit."""


def require_avx2(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """The x86-64 libraries are built for Haswell; without AVX2 the process would die on an illegal instruction."""
    if not cpuinfo.exists():
        return
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    if "avx2" not in flags.split():
        raise ToolchainError(
            "this x86-64 processor has no AVX2, which the acados libraries need: build on a newer machine, "
            f"or point {OWN} to an acados that was compiled for this one"
        )


def acados_tree(
    arch: str,
    cache: Path | None = None,
    *,
    pins: tuple[Pin, ...] = ACADOS_PINS,
    cpuinfo: Path = Path("/proc/cpuinfo"),
    prover: Prover = prove,
) -> AcadosTree:
    """The acados for `arch`: the user's own (ACADOS_SOURCE_DIR), one in the cache, or the newest wheel to be had.

    Each has solved a known problem before it is returned, here or under an emulator, where there is one.

    Raises ToolchainError when none can be had, and TargetError for an unknown arch.
    """
    arch, cache = target_arch(arch), cache or cache_directory()
    own = own_acados(arch)
    if own is not None:
        trust_own(own, cache, prover)
        return own
    return wheel_acados(arch, cache, pins=pins, cpuinfo=cpuinfo, prover=prover)


def wheel_acados(
    arch: str,
    cache: Path,
    *,
    pins: tuple[Pin, ...] = ACADOS_PINS,
    cpuinfo: Path = Path("/proc/cpuinfo"),
    prover: Prover = prove,
) -> AcadosTree:
    """As `acados_tree`, whether or not there is one of the user's own."""
    if arch == "x86_64" and host_arch() == "x86_64":
        require_avx2(cpuinfo)
    unfit: list[str] = []
    for pin in pins_of(arch, pins):
        if not folder_of(pin, cache).is_dir():
            continue
        try:
            return _trusted(pin, cache, prover)
        except Unfit as error:
            unfit.append(f"{pin.version} in the cache: {error}")
    return _fetched(arch, cache, pins, prover, unfit)


def newest_tree(
    arch: str, cache: Path | None = None, *, pins: tuple[Pin, ...] = ACADOS_PINS, prover: Prover = prove
) -> AcadosTree:
    """As `acados_tree`, but a newer wheel that can be downloaded goes before an older one in the cache."""
    arch, cache = target_arch(arch), cache or cache_directory()
    newest = pins_of(arch, pins)[0]
    if own_acados(arch) is None and not folder_of(newest, cache).is_dir():
        try:
            return _download(newest, cache, prover)
        except (DownloadError, Unfit):
            pass  # the others are tried, and say what is wrong when they fail too
    return acados_tree(arch, cache, pins=pins, prover=prover)


def pins_of(arch: str, pins: tuple[Pin, ...] = ACADOS_PINS) -> list[Pin]:
    """The known wheels for an architecture, newest first."""
    return [pin for pin in pins if pin.arch == arch]


def folder_of(pin: Pin, cache: Path) -> Path:
    """Where a wheel of acados is kept."""
    return cache / "acados" / f"{pin.version}-{pin.arch}"


def tree_of(pin: Pin, folder: Path) -> AcadosTree:
    """The acados in such a folder."""
    return wheel_tree(folder / "acados", pin.arch, pin.version)


def own_acados(arch: str) -> AcadosTree | None:
    """The one that ACADOS_SOURCE_DIR names, for this machine. Raises ToolchainError when it is of no use."""
    named = os.environ.get(OWN)
    return own_tree(Path(named), arch) if named and arch == host_arch() else None


def renderer_for(tree: AcadosTree, cache: Path | None = None) -> Path:
    """A t_renderer that runs on this machine: TERA_PATH or bin/ for the user's own acados, a wheel's for a wheel."""
    if not tree.own:
        if tree.arch == host_arch():
            return tree.renderer
        # What renders a wheel of another architecture has to run here.
        return wheel_acados(host_arch(), cache or cache_directory()).renderer
    named = os.environ.get("TERA_PATH")
    for path in (*([Path(named)] if named else []), tree.renderer):
        if os.access(path, os.X_OK) and path.is_file():
            return path.absolute()
    raise ToolchainError(
        f"{tree.renderer} is not there: download t_renderer, which renders acados' templates, from the "
        "releases of github.com/acados/tera_renderer, make it executable there, or name it in TERA_PATH"
    )


def proof_of(tree: AcadosTree, cache: Path) -> str | None:
    """How a tree was proved, None where it was not, or where that could be done better now."""
    try:
        document = json.loads(_proof_file(tree, cache).read_text(encoding="utf-8"))
        how, version, identity = str(document["how"]), document["version"], document["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if version != PROOF_VERSION or identity != tree.identity:
        return None
    return None if document.get("skipped") and emulator_for(tree.arch) is not None else how


def trust_own(tree: AcadosTree, cache: Path, prover: Prover = prove) -> str:
    """Prove the user's own acados, once for each build of it; how. Raises ToolchainError."""
    try:
        return _proved(tree, renderer_for(tree, cache), cache, prover, _proof_file(tree, cache))
    except Unfit as error:
        raise ToolchainError(
            f"{OWN}={tree.install} does not solve a known problem ({error}): build it for this machine, or unset {OWN} "
            "to take the acados that `nisse toolchain fetch` brings"
        ) from error


def _trusted(pin: Pin, cache: Path, prover: Prover) -> AcadosTree:
    folder = folder_of(pin, cache)
    tree = tree_of(pin, folder)
    _proved(tree, renderer_for(tree, cache), cache, prover, folder / PROOF)
    return tree


def _fetched(arch: str, cache: Path, pins: tuple[Pin, ...], prover: Prover, unfit: list[str]) -> AcadosTree:
    failures = list(unfit)
    for pin in pins_of(arch, pins):
        if folder_of(pin, cache).is_dir():
            continue
        try:
            return _download(pin, cache, prover)
        except (DownloadError, Unfit) as error:
            failures.append(str(error))
    known = ", ".join(pin.version for pin in pins_of(arch, pins))
    own = f", or set {OWN} to your own acados, 0.5 or newer" if arch == host_arch() else ""
    raise ToolchainError(
        f"no acados for {arch}: none of {known} is in {cache / 'acados'} and works, or can be had "
        f"({'; '.join(failures)}): "
        f"run `nisse toolchain fetch --target {arch}` where a package index is reached that has one of them "
        f"(PIP_INDEX_URL names another index), copy {cache / 'acados'} from a machine where that was done{own}"
    )


def _download(pin: Pin, cache: Path, prover: Prover) -> AcadosTree:
    """Fetch a wheel that is not there yet. Raises DownloadError, Unfit."""
    folder = folder_of(pin, cache)

    def accept(unpacked: Path) -> None:
        tree = tree_of(pin, unpacked)
        _proved(tree, renderer_for(tree, cache), cache, prover, unpacked / PROOF)

    wheel_to_cache(pin, f"manylinux_2_28_{pin.arch}", "acados", folder, accept)
    return tree_of(pin, folder)


def _proof_file(tree: AcadosTree, cache: Path) -> Path:
    """Beside a wheel's folder, which may be copied with it; for the user's own in our cache."""
    return cache / "acados" / f"own-{tree.identity}.json" if tree.own else tree.install.parents[1] / PROOF


def _proved(tree: AcadosTree, renderer: Path, cache: Path, prover: Prover, file: Path) -> str:
    """Prove a tree unless that was done; how. Raises Unfit."""
    done = proof_of(tree, cache)
    if done is not None:
        return done
    how = prover(tree, renderer, cache)
    document = {
        "version": PROOF_VERSION,
        "identity": tree.identity,
        "how": how,
        "skipped": emulator_for(tree.arch) is None,
        "compiler": find_compiler(tree.arch, cache).name,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)
    return how
