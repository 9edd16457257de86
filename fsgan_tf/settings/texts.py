"""Values from the texts of flags, by their type."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


def parse_names(text: str) -> tuple[str, ...]:
    """`fgsm,pgd20` as names; nothing is no name."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


def parse_numbers(text: str) -> tuple[float, ...]:
    """`2/255,0.05` as numbers."""
    return tuple(_parse_number(part.strip()) for part in text.split(","))


def _parse_bool(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _parse_text(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(Fraction(text.replace(" ", "")))


def _parse_whole_numbers(text: str) -> tuple[int, ...]:
    """`60,90`; nothing is no number."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise ValueError
    return tuple(sorted(map(int, parts)))


# How a text is read, and what it must be.
PARSERS: dict[type, Callable[[str], Any]] = {
    bool: _parse_bool,
    int: int,
    float: _parse_number,
    str: _parse_text,
    tuple: _parse_whole_numbers,
}
NOUNS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text of at least one character",
    tuple: "whole numbers separated by commas, such as 60,90",
}
