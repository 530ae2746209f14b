"""A bundle's name as an identifier in every language of the platforms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecomp.errors import InputError

_SNAKE = re.compile(r"[a-z][a-z0-9_]{0,49}")


@dataclass(frozen=True)
class Name:
    """A name in the forms that code needs.

    Attributes:
        snake: `flower_net`, for files, packages and C.
    """

    snake: str

    @property
    def pascal(self) -> str:
        """`FlowerNet`, for classes."""
        return "".join(part[:1].upper() + part[1:] for part in self.snake.split("_"))

    @property
    def upper(self) -> str:
        """`FLOWER_NET`, for macros."""
        return self.snake.upper()

    @property
    def kebab(self) -> str:
        """`flower-net`, for package registries."""
        return self.snake.replace("_", "-")

    def in_path(self, path: str) -> str:
        """Inserts the name into the path of a template."""
        return path.replace("_NAME_", self.snake).replace("_CLASS_", self.pascal)


def parse_name(text: str, keywords: frozenset[str]) -> Name:
    """Turns a model's name into an identifier: "Flower-Net v2" becomes `flower_net_v2`.

    Raises:
        InputError: The result is not an identifier, or is a keyword of the platform's language.
    """
    snake = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_").lower()
    if _SNAKE.fullmatch(snake) and snake not in keywords and text.isascii():
        return Name(snake)
    raise InputError(
        f"the bundle's name {text!r}",
        expected="Latin letters, digits and underscores, a letter first, at most 50, and no word of the language",
        actual=f"{snake!r}, a word of the language" if snake in keywords else "a name that is no identifier",
        cure="choose another with --name",
    )
