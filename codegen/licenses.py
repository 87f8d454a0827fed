"""The licence texts of the binaries in a bundle, taken from the headers they were shipped with."""

from __future__ import annotations

import re
from pathlib import Path

from codegen.errors import ToolchainError
from codegen.tree import AcadosTree

# name in the bundle -> (SPDX identifier, project, a header that opens with the licence)
SOURCES = {
    "acados.txt": ("BSD-2-Clause", "https://github.com/acados/acados", "acados/utils/types.h"),
    "hpipm.txt": ("BSD-2-Clause", "https://github.com/giaf/hpipm", "hpipm/include/hpipm_d_ocp_qp.h"),
    "blasfeo.txt": ("BSD-2-Clause", "https://github.com/giaf/blasfeo", "blasfeo/include/blasfeo_d_aux.h"),
    "qpoases.txt": ("LGPL-2.1-or-later", "https://github.com/coin-or/qpOASES", "qpOASES_e/QProblem.h"),
}


def license_texts(tree: AcadosTree) -> dict[str, str]:
    """File name -> text with identifier, project and the notice of the header. Raises ToolchainError."""
    return {
        name: f"SPDX-License-Identifier: {identifier}\nProject: {project}\n\n{_notice(tree.include, header)}\n"
        for name, (identifier, project, header) in SOURCES.items()
    }


def _notice(include: Path, header: str) -> str:
    path = include / header
    if not path.is_file():
        raise ToolchainError(f"{path} is missing: a bundle cannot be shipped without its licences; reinstall acados")
    comment = re.match(r"\s*/\*(.*?)\*/", path.read_text(errors="replace"), re.DOTALL)
    lines = comment.group(1).splitlines() if comment else []
    return "\n".join(line.strip().strip("*").strip() for line in lines).strip()
