"""Escape sequences (HL7 v2.5.1 §2.7): resolved once, in the value they stand in."""

from __future__ import annotations

import re

from pipelines.hl7v2.decode import Delimiters

_FORMATTING = {".br": "\n", ".sp": "\n", ".ce": "\n"}
_NOTHING = re.compile(r"[HN]|\.(?:in|ti)[+-]?\d{0,3}|\.(?:fi|nf)")
_SPACES = re.compile(r"\.(?:sp|sk)[+-]?(\d{1,3})")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


def unescape(text: str, delimiters: Delimiters, codec: str) -> str:
    """Resolve escape sequences.

    Unknown sequences and an escape character without its partner stay as they are.

    Args:
        text: a field, component or subcomponent.
        delimiters: those of its message.
        codec: the charset of its message, which ``\\X..\\`` gives bytes of.
    """
    escape = delimiters.escape
    if not escape or escape not in text:
        return text
    pieces = text.split(escape)
    result = [pieces[0]]
    place = 1
    while place < len(pieces):
        # pieces[place] is a sequence if another escape character follows it
        meaning = _meaning(pieces[place], delimiters, codec) if place + 1 < len(pieces) else None
        if meaning is None:
            result += [escape, pieces[place]]
            place += 1
        else:
            result += [meaning, pieces[place + 1]]
            place += 2
    return "".join(result)


def _meaning(sequence: str, delimiters: Delimiters, codec: str) -> str | None:  # noqa: PLR0911
    """What stands between two escape characters means; None where that is unknown."""
    if len(sequence) == 1:
        named = {
            "F": delimiters.field,
            "S": delimiters.component,
            "T": delimiters.subcomponent,
            "R": delimiters.repetition,
            "E": delimiters.escape,
            "P": delimiters.truncation,
            "H": "",
            "N": "",
        }
        return named.get(sequence)
    if sequence in _FORMATTING:
        return _FORMATTING[sequence]
    if _NOTHING.fullmatch(sequence):
        return ""
    if (skip := _SPACES.fullmatch(sequence)) is not None:
        return ("\n" if sequence.startswith(".sp") else " ") * int(skip[1])
    if (run := _HEX.fullmatch(sequence)) is not None:
        try:
            return bytes.fromhex(run[1]).decode(codec)
        except (UnicodeError, LookupError):
            return None
    return None
