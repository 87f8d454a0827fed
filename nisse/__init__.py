"""The command `nisse`: composes the parts' own sub-commands and loads each lazily."""
