"""What others would do with the same messages: object trees, one message at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import hl7
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message


def _rate(messages: Sequence[bytes], work: Callable[[str], object]) -> float:
    """Messages a second of CPU time."""
    texts = [message.decode("utf-8", "replace").replace("\n", "\r") for message in messages]
    started = time.thread_time()
    for text in texts:
        work(text)
    return len(texts) / (time.thread_time() - started)


def python_hl7_split(messages: Sequence[bytes]) -> float:
    """Messages a second that python-hl7 splits."""
    return _rate(messages, hl7.parse)


def python_hl7(messages: Sequence[bytes]) -> float:
    """Messages a second that python-hl7 splits and reads two fields of each OBX of."""
    return _rate(messages, _two_fields)


def _two_fields(text: str) -> int:
    return sum(
        len(str(segment[3])) + len(str(segment[5]))
        for segment in hl7.parse(text)
        if str(segment[0]) == "OBX" and len(segment) > 5
    )


def hl7apy(messages: Sequence[bytes]) -> float:
    """Messages a second that hl7apy reads into groups, segments and fields."""
    return _rate(messages, _groups)


def _groups(text: str) -> object:
    return parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
