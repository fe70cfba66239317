"""Splitting a batch of messages: positions, not pieces.

One pass over the bytes finds every segment and every field separator; a field is then two positions, and nothing is
cut or copied that nobody asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.hl7v2.decode import I64, U8, Bools, Decoded
from pipelines.kernel import AT_ONCE, any_of, kernel, lowest_bit

Positions = np.ndarray[tuple[int], np.dtype[np.signedinteger]]
"""Positions in the text of a batch: 32 bits, or 64 where the batch is longer than these reach."""


def name_code(name: str) -> int:
    """A segment name of three characters as one number, as in ``Split.names``."""
    return int.from_bytes(name.encode("ascii"), "big")


@dataclass(frozen=True)
class Split:
    """The segments of a batch, in order.

    Attributes:
        decoded: the batch as text.
        starts: where each segment begins, after blanks before its name.
        ends: where it ends (its terminator is not part of it).
        message: index of its message.
        ordinal: position in its message from 0; blank segments are not counted.
        names: ``name_code`` of its name in upper case; 0 where that is not of three characters.
        first_of_message: index of each message's MSH segment.
        separators: positions of the field separators of the batch.
        parted: for each of them whether the field behind it has a delimiter of repetitions, components or
            subcomponents.
        first_separator: for each segment, the index of its first field separator; one more entry for the end.
        escaped: for each segment whether it has an escape character, outside MSH-2.
        repeated: for each segment whether it has a repetition separator (an MSH always has).
    """

    decoded: Decoded
    starts: I64
    ends: I64
    message: I64
    ordinal: I64
    names: I64
    first_of_message: I64
    separators: Positions
    parted: Bools
    first_separator: I64
    escaped: Bools
    repeated: Bools

    @property
    def data(self) -> U8:
        """UTF-8 text of the batch."""
        return self.decoded.data

    @property
    def structure(self) -> U8:
        """The text with every message's delimiters made the usual ones."""
        return self.decoded.structure

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def width(self) -> np.dtype[np.signedinteger]:
        """Type of positions."""
        return self.separators.dtype

    @cached_property
    def by_name(self) -> dict[int, I64]:
        """Segments of each name, in order."""
        order = np.argsort(self.names, kind="stable")
        codes, begins = np.unique(self.names[order], return_index=True)
        return dict(zip(codes.tolist(), np.split(order, begins[1:]), strict=True))


def split_batch(decoded: Decoded) -> Split:
    """Find the segments and field separators of a batch.

    Segments end at CR, LF, CR LF or the end of the message; blank ones are passed over (HL7 v2.5.1 §2.5.1 has
    CR alone; the others are common).
    """
    structure = decoded.structure
    fields = _count(structure, 0x7C)
    segments = len(decoded.starts) + _count(structure, 0x0D) + _count(structure, 0x0A)
    starts, ends, message, ordinal, names = (np.empty(segments, np.int64) for _ in range(5))
    separators: Positions = (
        np.empty(fields, np.int32) if len(decoded.data) < 2**31 else np.empty(fields, np.int64)
    )
    parted = np.empty(fields, np.bool_)
    first_separator = np.empty(segments + 1, np.int64)
    first_of_message = np.empty(len(decoded.starts), np.int64)
    escaped, repeated = np.empty(segments, np.bool_), np.empty(segments, np.bool_)
    found = _fill(
        decoded.data, decoded.structure, decoded.starts, decoded.ends,
        starts, ends, message, ordinal, names, separators, parted, first_separator, first_of_message, escaped, repeated,
    )  # fmt: skip
    return Split(
        decoded,
        starts[:found],
        ends[:found],
        message[:found],
        ordinal[:found],
        names[:found],
        first_of_message,
        separators,
        parted,
        first_separator[: found + 1],
        escaped[:found],
        repeated[:found],
    )


@kernel
def _count(structure: U8, character: int) -> int:
    """How often a character stands in a batch."""
    count = 0
    for at in range(len(structure)):
        count += structure[at] == character
    return count


@kernel
def _fill(  # noqa: PLR0915 - one pass over the bytes
    data: U8, structure: U8, message_starts: I64, message_ends: I64,
    starts: I64, ends: I64, messages: I64, ordinals: I64, names: I64,
    separators: Positions, parted: Bools, first_separator: I64, first_of_message: I64, escaped: Bools, repeated: Bools,
) -> int:  # fmt: skip
    """Fill the arrays of a split; the number of segments."""
    segment = 0
    field = 0
    for message in range(len(message_starts)):
        end = message_ends[message]
        start = message_starts[message]
        first_of_message[message] = segment
        ordinal = 0
        first = field
        named = -1  # where the name ends
        many = False
        odd = False
        block = start
        while block <= end:
            marks = _marks(structure, block, end)
            while marks:
                at = block + lowest_bit(marks)  # type: ignore[call-arg]
                marks &= marks - np.uint64(1)
                character = structure[at] if at < end else np.uint8(0x0D)
                if character == 0x7C:
                    if named < 0:
                        named = at
                    separators[field] = at
                    parted[field] = False
                    field += 1
                elif character in (0x5E, 0x7E, 0x26):
                    many = many or character == 0x7E
                    if field > first:
                        parted[field - 1] = True
                elif character == 0x5C:
                    # MSH-2 stands between the first two separators of the message
                    odd = odd or ordinal > 0 or field - first != 1
                else:
                    while start < at and (data[start] == 0x20 or data[start] == 0x09):
                        start += 1
                    if start < at:
                        starts[segment] = start
                        ends[segment] = at
                        messages[segment] = message
                        ordinals[segment] = ordinal
                        first_separator[segment] = first
                        repeated[segment] = many
                        escaped[segment] = odd
                        names[segment] = (
                            _name_code(data, start) if (named if named >= 0 else at) - start == 3 else 0
                        )
                        segment += 1
                        ordinal += 1
                        first = field
                    start = at + 1
                    named = -1
                    many = False
                    odd = False
            block += AT_ONCE
    first_separator[segment] = field
    return segment


_marks_in = any_of(b"|^~&\\\r\n")


@kernel
def _marks(structure: U8, block: int, end: int) -> np.uint64:
    """Delimiters and line ends from a position on, as bits, the lowest for that position; the end counts as one.

    Args:
        structure: text with the usual delimiters.
        block: the position.
        end: of the message.
    """
    if block + AT_ONCE <= len(structure):
        marks = _marks_in(structure, block)
    else:
        marks = np.uint64(0)
        for at in range(block, end):
            if structure[at] in (0x7C, 0x5E, 0x7E, 0x26, 0x5C, 0x0D, 0x0A):
                marks |= np.uint64(1) << np.uint64(at - block)
    if end - block < AT_ONCE:
        last = np.uint64(1) << np.uint64(end - block)
        marks = (marks & (last - np.uint64(1))) | last
    return marks


@kernel
def _name_code(data: U8, start: int) -> int:
    """``name_code`` of three characters, in upper case."""
    code = 0
    for place in range(3):
        letter = int(data[start + place])
        if 0x61 <= letter <= 0x7A:
            letter -= 32
        code = code << 8 | letter
    return code
