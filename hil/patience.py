"""How long the bench waits, in real seconds, before what does not answer is taken to hang.

The bench's own clock stands still while it waits, so that a loaded machine costs patience and changes no result.
"""

from __future__ import annotations

HANG_S = 600.0
