"""Escape sequences (HL7 v2.5.1 §2.7): resolved once, in the value they stand in."""

from __future__ import annotations

import re
from types import MappingProxyType

from pipelines.hl7v2.decode import Delimiters
from schemas.hl7v2.charsets import JAPANESE, family

_FORMATTING = MappingProxyType({".br": "\n", ".sp": "\n", ".ce": "\n"})
_NOTHING = re.compile(r"[HN]|\.(?:in|ti)[+-]?[0-9]{0,3}|\.(?:fi|nf)")
_SPACES = re.compile(r"\.(sp|sk)[+-]?([0-9]{1,2})")
"""Lines or blanks to skip, at most 99: longer counts would make a great value of a small message."""
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")
_SWITCH = re.compile(r"C(?:[0-9A-Fa-f]{4})|M(?:[0-9A-Fa-f]{4}|[0-9A-Fa-f]{6})")

_BACK = "2842"
"""ASCII: back to the message's own charset."""

_SETS = MappingProxyType(
    {
        # single bytes in G0 and G1 (§2.7.3, ISO 2022)
        _BACK: "ascii",  # ISO IR6
        "284A": JAPANESE,  # ISO IR14
        "2949": "shift_jis",  # ISO IR13
        "2D41": "iso8859-1",  # ISO IR100
        "2D42": "iso8859-2",  # ISO IR101
        "2D43": "iso8859-3",  # ISO IR109
        "2D44": "iso8859-4",  # ISO IR110
        "2D46": "iso8859-7",  # ISO IR126
        "2D47": "iso8859-6",  # ISO IR127
        "2D48": "iso8859-8",  # ISO IR138
        "2D4C": "iso8859-5",  # ISO IR144
        "2D4D": "iso8859-9",  # ISO IR148
        # several bytes
        "2440": JAPANESE,  # ISO IR42
        "2442": JAPANESE,  # ISO IR87
        "242844": JAPANESE,  # ISO IR159
        "242943": "cp949",  # ISO IR149
        "242941": "gb18030",  # ISO IR58
    }
)
"""What follows the escape character of ISO 2022 in ``\\C..\\`` and ``\\M..\\`` → Python codec."""


_SINGLE_BYTES = ("iso8859", "latin", "cp125")


def unescape(text: str, delimiters: Delimiters, codec: str) -> str:
    """Resolve escape sequences.

    Unknown and local sequences, those whose bytes are not in their charset, and an escape character without its
    partner stay as they are. Bytes of ``\\X..\\`` sequences that follow one another are decoded together, for
    one character's bytes may be in two of them. A switch of the charset (``\\C..\\``, ``\\M..\\``) holds up to
    the next one, at most to the end of the value.

    Args:
        text: a field, component or subcomponent.
        delimiters: those of its message.
        codec: the charset of its message, which ``\\X..\\`` gives bytes of.
    """
    escape = delimiters.escape
    if not escape or escape not in text:
        return text
    pieces = text.split(escape)
    named = _named(delimiters)
    result = [pieces[0]]
    switch: str | None = None  # the charset that text is in since the last switch
    place = 1
    while place < len(pieces):
        # pieces[place] is a sequence if another escape character follows it
        sequence = pieces[place] if place + 1 < len(pieces) else ""
        meaning = named.get(sequence)
        after = place + 2
        if meaning is None and sequence.startswith("X"):
            after = _end_of_run(pieces, place)
            meaning = _bytes_meaning(pieces[place:after:2], escape, codec)
        elif meaning is None and _SWITCH.fullmatch(sequence) is not None:
            known = sequence[1:].upper() if sequence[1:].upper() in _SETS else None
            following = _in_set(pieces[place + 1], known, codec)
            if known is not None and following is not None:
                switch = known
                result.append(following)
                place += 2
                continue
        elif meaning is None and sequence:
            meaning = _formatting(sequence)
        if meaning is None:
            result += [escape, pieces[place]]
            place += 1
            continue
        following = _in_set(pieces[after - 1], switch, codec)
        result += [meaning, pieces[after - 1] if following is None else following]
        place = after
    return "".join(result)


def _named(delimiters: Delimiters) -> dict[str, str]:
    """The sequences of one letter; not those of delimiters that the message does not have."""
    own = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "P": delimiters.truncation,
    }
    return {"H": "", "N": "", **{letter: delimiter for letter, delimiter in own.items() if delimiter}}


def _formatting(sequence: str) -> str | None:
    """What a formatting command (§2.7.6) means; None where it is none."""
    if sequence in _FORMATTING:
        return _FORMATTING[sequence]
    if _NOTHING.fullmatch(sequence):
        return ""
    if (skip := _SPACES.fullmatch(sequence)) is not None:
        return ("\n" if skip[1] == "sp" else " ") * int(skip[2])
    return None


def _end_of_run(pieces: list[str], place: int) -> int:
    """Behind the text that follows the last of the ``X`` sequences that follow one another from a place on."""
    after = place + 2
    while after + 1 < len(pieces) and not pieces[after - 1] and pieces[after].startswith("X"):
        after += 2
    return after


def _bytes_meaning(sequences: list[str], escape: str, codec: str) -> str | None:
    """The characters that ``X`` sequences give the bytes of; None where none of them can be read."""
    runs = [_HEX.fullmatch(sequence) for sequence in sequences]
    if None not in runs:
        together = _decoded(bytes.fromhex("".join(run[1] for run in runs if run is not None)), codec)
        if together is not None:
            return together
    if len(runs) == 1:
        return None
    meanings = [_decoded(bytes.fromhex(run[1]), codec) if run is not None else None for run in runs]
    return "".join(
        f"{escape}{sequence}{escape}" if meaning is None else meaning
        for sequence, meaning in zip(sequences, meanings, strict=True)
    )


def _decoded(data: bytes, codec: str) -> str | None:
    for one in family(codec) or (codec,):
        try:
            return data.decode(one)
        except (UnicodeError, LookupError):
            continue
    return None


def _in_set(text: str, switch: str | None, codec: str) -> str | None:
    """Text as the set has it that was switched to; None where it is not in it, or no set is known."""
    if switch is None or switch == _BACK:
        return None if switch is None else text
    meant = _SETS[switch]
    if meant != JAPANESE and text.isascii():
        return text  # these sets stand in G1: only bytes beyond ASCII are theirs
    if meant != JAPANESE and not codec.startswith(_SINGLE_BYTES):
        return None  # the bytes of the text are not those that were sent
    try:
        data = text.encode(codec)
        if meant == JAPANESE:
            return (b"\x1b" + bytes.fromhex(switch) + data + b"\x1b(B").decode(meant)
        return data.decode(meant)
    except (UnicodeError, LookupError):
        return None
