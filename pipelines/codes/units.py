"""Units as sent → UCUM codes, and what turns a value in one into a value in another.

Spellings are tidied and looked up in a literal (``schemas.codes.units``); everything else is read by the library
``ucumvert``, and reckoned by ``pint``, which it builds on.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from lark import Lark, Token, Tree
from lark.exceptions import LarkError
from pint import PintError, Quantity
from ucumvert import PintUcumRegistry, get_ucum_parser
from ucumvert.parser import parse_ucum
from ucumvert.xml_util import get_units_with_full_definition

from schemas.codes.units import ALIASES, AMBIGUOUS, LONGEST_UNIT

Amount: TypeAlias = "Quantity[float]"
"""A number of some unit."""

_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_RAISED: Final = re.compile("10([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_POWER_OF_TEN: Final = re.compile(r"[×xX*]?(?:10[\^*eE]+|(?<![A-Za-z0-9])[eE])\+?([0-9]{1,2})(?=/|$)")
_TIMES: Final = re.compile(r"[×xX](?=10\*)")
_ALIKE: Final = str.maketrans({"μ": "u", "·": ".", "•": ".", "∕": "/", "⁄": "/", "˚": "°", "º": "°"})
_BLANK: Final = re.compile(r"\s+")
_OWN_SPELLING: Final = {"l": "L", "[iU]": "[IU]", "10^": "10*"}
"""Of two codes that UCUM has for one unit, the one that is written here."""

_SPECIAL: Final = frozenset({"eq", "osm", "[HPF]", "[LPF]"})
"""Beside UCUM's arbitrary units: not turned into others, though the library takes them for numbers or moles. How many
moles an equivalent is depends on the ion."""


def plain(text: str) -> str:
    """A unit as sent, in the characters that UCUM uses: ``× 10⁹ / L`` → ``10*9/L``; both micro signs → ``u``."""
    text = _RAISED.sub(lambda found: f"10*{found[1].translate(_SUPERSCRIPTS)}", text)
    text = _BLANK.sub("", unicodedata.normalize("NFKC", text).translate(_ALIKE))
    return _TIMES.sub("", _POWER_OF_TEN.sub(r"10*\1", text))


@functools.lru_cache(maxsize=4096)
def ucum_code(text: str) -> str | None:
    """The UCUM code that a unit as sent means; None where it cannot be read.

    Args:
        text: as sent; never raises, whatever it is.
    """
    if not text.strip() or len(text) > LONGEST_UNIT:
        return None
    tidy = plain(text)
    if tidy in AMBIGUOUS or len(tidy) > LONGEST_UNIT:
        return None
    alias = ALIASES.get(tidy.casefold())
    if alias is not None:
        return alias
    code = _spelled(tidy)
    if code is None and tidy.isascii() and tidy.upper() == tidy:
        return _spelled(tidy.lower())  # instruments that know capitals only
    return code


def _spelled(code: str) -> str | None:
    """A UCUM code in one spelling; None for what is none."""
    tree = _tree(code)
    if tree is None:
        return None
    parts, place = [], 0
    for token in _tokens(tree):
        start, end = token.start_pos or 0, token.end_pos or 0
        parts += [code[place:start], _OWN_SPELLING.get(str(token), str(token))]
        place = end
    return "".join([*parts, code[place:]])


@dataclass(frozen=True, slots=True)
class Linear:
    """value in the one unit × ``factor`` + ``shift`` = value in the other."""

    factor: float
    shift: float = 0.0


IDENTITY: Final = Linear(1.0)


@functools.lru_cache(maxsize=4096)
def conversion(unit: str, to: str, molar_mass: float | None = None) -> Linear | None:
    """What turns values in one unit into values in another; None where nothing does.

    Units that a procedure defines (UCUM's arbitrary units: ``[IU]``) are turned into themselves only, with prefixes.

    Args:
        unit: a UCUM code.
        to: another.
        molar_mass: grams per mole, where mass may be turned into amount of substance and back.
    """
    if unit == to:
        return IDENTITY
    one, other = _quantity(unit), _quantity(to)
    if one is None or other is None or _kept_apart(unit) != _kept_apart(to):
        return None
    for given in (one, *_by_mass(one, molar_mass)):
        if given.dimensionality == other.dimensionality and _share_of_moles(unit) == _share_of_moles(to):
            return _linear(given, other)
    return None


def needs_molar_mass(unit: str, to: str) -> bool:
    """Whether it is for want of a molar mass that values are not turned from one unit into another."""
    return conversion(unit, to) is None and conversion(unit, to, 1.0) is not None


# The library ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _library() -> tuple[Lark, PintUcumRegistry]:
    """Its parser and its units; half a second, so only when asked for."""
    return get_ucum_parser(), PintUcumRegistry()


@functools.lru_cache(maxsize=1)
def _arbitrary() -> frozenset[str]:
    """Units that UCUM says are arbitrary (§24), and ours."""
    return _SPECIAL | {one.code_cs for one in get_units_with_full_definition() if one.is_arbitrary}


def _tree(code: str) -> Tree[Token] | None:
    try:
        tree: Tree[Token] = parse_ucum(code, _library()[0])
    except (LarkError, ValueError, RecursionError):
        return None
    return tree


@functools.lru_cache(maxsize=4096)
def _quantity(code: str) -> Amount | None:
    """What a UCUM code is worth; None for what the library cannot reckon with (``[pH]``)."""
    registry = _library()[1]
    try:
        found = registry.from_ucum(code)
        if not hasattr(found, "dimensionality"):  # an annotation alone
            found = registry.Quantity(1.0)
        amount: Amount = registry.Quantity(float(found.magnitude), found.units)
    except (LarkError, PintError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None
    return amount


def _linear(one: Amount, other: Amount) -> Linear | None:
    """By three values, so that what is not linear (logarithms) shows."""
    unit, to = one.units, other.units
    quantity = _library()[1].Quantity
    try:
        at = [
            float(quantity(x * one.magnitude, unit).to(to).magnitude) / other.magnitude
            for x in (0.0, 1.0, 2.0)
        ]
    except (PintError, ArithmeticError, ValueError, TypeError):
        return None
    factor = at[1] - at[0] if at[0] else at[1]
    if not all(map(math.isfinite, at)) or not factor or not math.isclose(at[2], at[0] + 2 * factor):
        return None
    return Linear(_rounded(factor), _rounded(at[0]))


def _rounded(number: float) -> float:
    """To twelve digits: what the library reckons in steps ends in 0.30000000000000004."""
    return float(f"{number:.12g}")


def _by_mass(one: Amount, molar_mass: float | None) -> list[Amount]:
    """Amount for mass, and mass for amount."""
    if molar_mass is None:
        return []

    mole = _library()[1].Quantity(molar_mass, "gram / mole")
    try:
        return [one / mole, one * mole]
    except PintError:  # degrees
        return []


@functools.lru_cache(maxsize=4096)
def _atoms(code: str) -> Counter[str]:
    tree = _tree(code)
    found = () if tree is None else _tokens(tree)
    return Counter(
        _OWN_SPELLING.get(str(token), str(token)) for token in found if token.type.startswith("UNIT_")
    )


def _tokens(tree: Tree[Token]) -> Iterator[Token]:
    yield from tree.scan_values(lambda value: isinstance(value, Token))


def _kept_apart(code: str) -> Counter[str]:
    """The units in a code that are not turned into any others."""
    return Counter({atom: count for atom, count in _atoms(code).items() if atom in _arbitrary()})


def _share_of_moles(code: str) -> bool:
    """Whether it is a share of moles, which is no percentage of mass: 48 mmol/mol of haemoglobin A1c are 6.5 %."""
    return _atoms(code)["mol"] > 1
