"""How long a test waits for what must come: it ends a test that hangs, and says nothing about speed."""

PATIENCE_S = 900.0
