"""Questions at a terminal: each answer is judged at once, and asked for again with what would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from runtime.errors import NisseError

EXIT_USAGE = 2
T = TypeVar("T")


class InitError(NisseError):
    """The questions cannot be asked, or the answers do not fit."""

    exit_code = EXIT_USAGE


class Questions:
    """`silent`: nothing is asked, options and defaults decide."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent

    def __call__(self, question: str, default: str, meant: Callable[[str], T], given: str | None = None) -> T:
        """What is meant by the option `given`, by the default, or by what is typed.

        meant: raises ValueError with a remedy. Raises InitError for an option or default that it refuses, and at the
        end of the input.
        """
        if given is not None or self.silent:
            try:
                return meant(default if given is None else given)
            except ValueError as error:
                raise InitError(f"{error}; nothing is written") from error
        shown = f" [{default}]" if default else ""
        while True:
            try:
                return meant(input(f"{question}{shown} ").strip() or default)
            except EOFError:
                raise InitError("the questions were not answered; nothing is written") from None
            except ValueError as error:
                print(f"  {error}")


def one_of(words: tuple[str, ...], what: str) -> Callable[[str], str]:
    """One of some words; `what` is said of any other: no link is called 'x'."""

    def meant(text: str) -> str:
        if text not in words:
            raise ValueError(f"no {what} is called {text!r}; known here: {', '.join(words)}")
        return text

    return meant
