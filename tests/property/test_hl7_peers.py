"""The same segments, fields, repetitions, components and values as two other readers find: python-hl7 and hl7apy."""

from __future__ import annotations

from types import MappingProxyType

import hl7
import pyarrow as pa
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.hl7v2.decode import USUAL_DELIMITERS, Delimiters, decode_batch
from pipelines.hl7v2.tree import FieldValue, Repetition, Segment, read_trees
from pipelines.hl7v2.unescape import unescape
from tests.unit.test_hl7_fixtures import MESSAGES

PYTHON_HL7_READS = MappingProxyType(
    {
        "H": "",  # §2.7.2: highlighting begins; python-hl7 writes _
        "N": "",  # §2.7.2: highlighting ends; python-hl7 writes _
        ".br": "\n",  # §2.7.6: a new line; python-hl7 writes a carriage return, which ends segments
        ".sp": "\n",  # §2.7.6: as .br
        ".ce": "\n",  # §2.7.6: as .br
        ".in": "",  # §2.7.6: indents lines, says nothing; python-hl7 writes four blanks
        "Zx": "!Zx!",  # §2.7.7: local sequences are the sender's; ours stay as they are, python-hl7 drops them
    }
)
"""What python-hl7 is told to read so that it agrees: the differences between it and the standard, by clause."""

HL7APY_KEEPS = ("X", "H", "N", ".br", ".sp", ".ce", ".in", "Zx")
"""hl7apy resolves the escapes of delimiters only (§2.7.1); these stay as they are in its values."""

DIFFERENT = MappingProxyType(
    {
        # a line of three letters has no MSH-1: it is a segment without fields (§2.5.4); python-hl7 makes two of it
        ("python-hl7", "batch-malformed-mid-batch"): ("MSH",),
    }
)
"""(reader, public message) → segments that it reads otherwise.

Blanks at the end of a value are part of it (§2.5.3); python-hl7 takes them from the end of a message, hl7apy from the
end of each segment: there they are taken off before; and a value of blanks alone is none to hl7apy. It names no field
that its version of a segment has not, and no component of a primitive type, though both may be added (§2.8.2): these
are compared by their order. It writes set ids as numbers (SI, §2.A.70), so zeros before a number are not compared.
"""

careful = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LETTERS = st.text("abcXYZ019 .王葉é", max_size=5)
ESCAPED = ("F", "S", "T", "R", "E", "H", "N", ".br", ".sp", ".ce", "Zx", "X41", "X4D6e")
PUNCTUATION = "|^~\\&#$%!@*+?<>;:"


@st.composite
def leaves(draw: st.DrawFn) -> list[str]:
    """Plain text, and names of escape sequences behind an exclamation mark."""
    return draw(
        st.lists(LETTERS | st.sampled_from(ESCAPED).map(lambda name: f"!{name}"), min_size=1, max_size=3)
    )


def some(of: st.SearchStrategy[object], most: int) -> st.SearchStrategy[list[object]]:
    return st.lists(of, min_size=1, max_size=most)


FIELDS = st.lists(some(some(some(leaves(), 3), 4), 3), max_size=6)
SEGMENTS = st.lists(st.tuples(st.sampled_from(("PID", "OBX", "NTE", "ZZZ")), FIELDS), max_size=4)
DELIMITERS = st.permutations(PUNCTUATION).map(lambda some: "".join(some[:5]))


def sent(leaf: list[str], own: str) -> str:
    """A leaf as it is sent; delimiters and the escape character do not stand in its letters."""
    return "".join(
        f"{own[3]}{one[1:]}{own[3]}" if one.startswith("!") else "".join(c for c in one if c not in own)
        for one in leaf
    )


def meant(leaf: list[str], own: str) -> str:
    """What a leaf means."""
    named = dict(zip("FSRET", own, strict=True)) | {"H": "", "N": "", ".br": "\n", ".sp": "\n", ".ce": "\n"}
    named |= {"Zx": f"{own[3]}Zx{own[3]}", "X41": "A", "X4D6e": "Mn"}
    return "".join(named[one[1:]] if one.startswith("!") else sent([one], own) for one in leaf)


def tree_of(message: bytes) -> list[Segment]:
    """Our reading of a message."""
    (tree,) = read_trees(decode_batch(pa.array([message], pa.binary()), ["utf-8"]))
    return tree


def of_python_hl7(field: hl7.Field) -> FieldValue:
    """A field of python-hl7 as ours."""
    if not str(field):
        return ()
    return tuple(
        tuple(
            (component,) if isinstance(component, str) else tuple(map(str, component))
            for component in ([repetition] if isinstance(repetition, str) else repetition)
        )
        if str(repetition)
        else ()
        for repetition in field
    )


def unescaped(message: hl7.Message, field: FieldValue) -> FieldValue:
    """With the escapes resolved, as python-hl7 does when it is told of the differences."""
    reads = {name: text.replace("!", message.esc) for name, text in PYTHON_HL7_READS.items()}
    return tuple(
        tuple(tuple(message.unescape(leaf, reads) for leaf in component) for component in repetition)
        for repetition in field
    )


def differences_from_python_hl7(message: str) -> list[tuple[object, ...]]:
    """Where python-hl7 finds something else."""
    theirs = hl7.parse(message)
    ours = tree_of(message.encode())
    found: list[tuple[object, ...]] = [] if len(theirs) == len(ours) else [(len(theirs), len(ours))]
    for mine, other in zip(ours, theirs, strict=True):
        begin = 3 if mine.name == "MSH" else 1
        fields = tuple(unescaped(theirs, of_python_hl7(field)) for field in other[begin:])
        if (mine.name, mine.fields[begin - 1 :]) != (str(other[0]), fields):
            found.append((mine.name, mine.fields[begin - 1 :], fields))
    return found


@careful
@given(SEGMENTS, DELIMITERS)
def test_python_hl7_finds_the_same_in_generated_messages(
    segments: list[tuple[str, object]], own: str
) -> None:
    message, meanings = written(segments, own)
    assert [(one.name, one.fields) for one in tree_of(message.encode())[1:]] == meanings
    assert differences_from_python_hl7(message) == []


def written(
    segments: list[tuple[str, object]], own: str
) -> tuple[str, list[tuple[str, tuple[FieldValue, ...]]]]:
    """A message with delimiters of its own, in the order |^~\\&, and the tree that it means."""
    field, component, repetition, escape, sub = list(own)
    lines = [f"MSH{field}{component}{repetition}{escape}{sub}{field}A{field}B"]
    meanings = []
    for name, fields in segments:
        texts, values = [name], []
        for repetitions in fields:  # type: ignore[attr-defined]
            text = repetition.join(
                component.join(sub.join(sent(leaf, own) for leaf in leaves_) for leaves_ in components)
                for components in repetitions
            )
            texts.append(text)
            values.append(
                tuple(
                    tuple(tuple(meant(leaf, own) for leaf in leaves_) for leaves_ in components)
                    if any(sent(leaf, own) for leaves_ in components for leaf in leaves_)
                    or len(components) > 1
                    or len(components[0]) > 1
                    else ()
                    for components in repetitions
                )
                if text
                else ()
            )
        lines.append(field.join(texts))
        meanings.append((name, tuple(values)))
    # a bare segment at the end: python-hl7 takes blanks from the end of a message
    return "\r".join([*lines, "ZEN"]) + "\r", [*meanings, ("ZEN", ())]


Numbered = list[tuple[int | None, list[str]]]
"""Of the repetitions that are not empty: field number and the leaves that are not empty."""


def of_hl7apy(message: str, own: Delimiters) -> list[tuple[str, Numbered]]:
    """Segments of hl7apy; no number where it has no name for a field."""
    read = parse_message(message, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
    found = []
    for segment in read.children:
        repetitions: Numbered = []
        for field in segment.children:
            # what it does not resolve it escapes anew
            texts = [unescape(sub.to_er7(), own, "utf-8") for part in field.children for sub in part.children]
            number = int(field.name.rpartition("_")[2]) if field.name else None
            repetitions.append((number, [_without_zeros(text) for text in texts if text.strip(" ")]))
        found.append((str(segment.name), [(number, leaves) for number, leaves in repetitions if leaves]))
    return found


def leaves_of(repetition: Repetition) -> list[str]:
    return [_without_zeros(leaf) for component in repetition for leaf in component if leaf.strip(" ")]


def _without_zeros(text: str) -> str:
    number = text.strip(" ")  # hl7apy reads what looks like a number as one, blanks beside it too
    return number.lstrip("0") if number.isdecimal() else text


def differences_from_hl7apy(message: str, own: Delimiters = USUAL_DELIMITERS) -> list[object]:
    """Where hl7apy finds something else."""
    message = "\r".join(line.rstrip(" ") for line in message.split("\r"))
    theirs = of_hl7apy(message, own)
    ours = [(one.name, one.fields) for one in tree_of(message.encode())]
    if [name for name, _ in theirs] != [name for name, _ in ours]:
        return [(theirs, ours)]
    found: list[object] = []
    for (name, fields), (_, others) in zip(ours, theirs, strict=True):
        begin = 3 if name == "MSH" else 1
        mine = [
            (number, leaves)
            for number, field in enumerate(fields, 1)
            for leaves in map(leaves_of, field)
            if number >= begin and leaves
        ]
        other = [(number, leaves) for number, leaves in others if number is None or number >= begin]
        unnamed = {number for number, _ in mine} - {number for number, _ in other}
        named = [(None if number in unnamed else number, some) for number, some in mine]
        if sorted(map(repr, named)) != sorted(map(repr, other)):
            found.append((name, named, other))
    return found


@careful
@given(SEGMENTS, DELIMITERS)
def test_hl7apy_finds_the_same_in_generated_messages(segments: list[tuple[str, object]], own: str) -> None:
    plain = [
        (name, [[[[[one for one in leaf if one[1:] not in HL7APY_KEEPS and not one.startswith("!X")] or ["x"]
                   for leaf in leaves_] for leaves_ in components] for components in repetitions]
                for repetitions in fields])  # type: ignore[attr-defined]
        for name, fields in segments
    ]  # fmt: skip
    message, _ = written(plain, own)  # type: ignore[arg-type]
    assert differences_from_hl7apy(message, Delimiters(*own)) == []


READ_ALIKE = [
    (name, message.decode().rstrip())
    for name, message in MESSAGES
    if message.isascii() or b"UTF-8" in message
]


@pytest.mark.skipif(not MESSAGES, reason="the public messages are not here")
def test_python_hl7_finds_the_same_in_public_messages() -> None:
    wrong = {
        name: tuple(segment for segment, *_ in found)
        for name, message in READ_ALIKE
        if (found := differences_from_python_hl7(message))
    }
    assert wrong == {
        name: segments for (reader, name), segments in DIFFERENT.items() if reader == "python-hl7"
    }


@pytest.mark.skipif(not MESSAGES, reason="the public messages are not here")
def test_hl7apy_finds_the_same_in_public_messages() -> None:
    wrong, refused = {}, 0
    for name, message in READ_ALIKE:
        try:
            found = differences_from_hl7apy(message)
        except (HL7apyException, ValueError, KeyError, AttributeError):
            refused += 1  # hl7apy wants a version that it knows, and names of three characters
            continue
        if found:
            wrong[name] = found
    assert wrong == {}
    assert refused < len(READ_ALIKE) / 4
