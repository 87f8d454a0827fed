"""The command `nisse`: composes the parts' own sub-commands and loads each lazily."""

import sys

# The daemon makes its devices safe when a signal comes, also one that comes while its modules are being read: it waits.
# `-m` is what Python calls the script while it looks for the module.
if sys.argv[1:2] == ["run"] and sys.argv[0].rpartition("/")[2] in {"nisse", "-m"}:
    from runtime.interrupts import hold

    hold()
