"""Values of laboratory results as texts: numbers, limits, ranges, ratios, and what is none of these.

The columns are those that an observation of HL7 has for OBX-5 (HL7 v2.5.1 §7.4.2.5): NM for a number, SN for a number
with a comparator, a range or a ratio, ST for other text. The text itself is always kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import buffers
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.numbers import read_numbers
from pipelines.lab.file_lines import HALF_WIDTH

_NUMBER = r"([+-]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d{1,2})?|\d+(?:[eE][+-]\d{1,2})?))"
"""With an exponent where that is told from a code such as ``1E5``: by its sign, or a decimal point before it."""
_POWER = re.compile(r"(?<=\d)\s*[×xX*]\s*10(?:\^([+-]?\d{1,2})|([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))\Z", re.ASCII)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_PLAIN = re.compile(rf"{_NUMBER}\Z", re.ASCII)
_LIMIT = re.compile(rf"(<=|>=|<|>|≤|≥|≦|≧)\s*{_NUMBER}\Z", re.ASCII)
_RANGE = re.compile(rf"{_NUMBER}\s*(?:-{{1,2}}|~|–|—|〜|至)\s*{_NUMBER}\Z", re.ASCII)
_RATIO = re.compile(rf"{_NUMBER}\s*[:∶]\s*{_NUMBER}\Z", re.ASCII)
_COMPARATORS = {"≤": "<=", "≦": "<=", "≥": ">=", "≧": ">="}
_COLUMNS = ("number", "comparator", "low", "separator", "high")
_TYPES = {"number": pa.float64(), "comparator": pa.string(), "low": pa.float64(), "separator": pa.string(),
          "high": pa.float64()}  # fmt: skip

Value = tuple[float | None, str | None, float | None, str | None, float | None]
"""Number, comparator, low, separator, high."""

NOTHING: Value = (None, None, None, None, None)


def read_value(text: str, decimal: str = ".") -> Value:
    """What a text says as numbers: ``＞100``, ``3.5～5.5``, ``1:80``; all None where it is text.

    Args:
        text: without blanks around it.
        decimal: the decimal sign.
    """
    plain = text.translate(HALF_WIDTH).strip()
    if decimal == ",":
        plain = plain.replace(".", "\0").replace(",", ".")
    if found := _POWER.search(plain):
        power = int((found[1] or found[2]).translate(_RAISED))
        plain = f"{plain[: found.start()]}e{power:+}"
    if _PLAIN.match(plain):
        return float(plain), None, None, None, None
    if limit := _LIMIT.match(plain):
        return float(limit[2]), _COMPARATORS.get(limit[1], limit[1]), None, None, None
    if between := _RANGE.match(plain):
        return None, None, float(between[1]), "-", float(between[2])
    if ratio := _RATIO.match(plain):
        return None, None, float(ratio[1]), ":", float(ratio[2])
    return NOTHING


def read_values(texts: pa.Array, decimal: str = ".") -> dict[str, pa.Array]:
    """The columns of values.

    Args:
        texts: string array; null where there is nothing.
        decimal: the decimal sign.

    Returns:
        ``value_text``, ``value_type``, ``value_repetitions`` and ``value_number``, ``_comparator``, ``_low``,
        ``_separator``, ``_high``.
    """
    count = len(texts)
    numbers = pc.replace_substring(texts, ",", ".") if decimal == "," else texts
    offsets, data = buffers(numbers.cast(pa.binary()))
    found = read_numbers(data, Spans(offsets[:-1], offsets[1:], count))
    refused = found.refused
    if decimal == ",":  # 1.000,5 is no number, and 1.5 none that its writer means
        refused = refused | (
            found.valid & pc.fill_null(pc.match_substring(texts, "."), False).to_numpy(False)
        )
    valid = found.valid & ~refused
    odd = np.flatnonzero(refused)
    kinds = texts.take(pa.array(odd)).dictionary_encode()
    read = [read_value(text, decimal) for text in kinds.dictionary.to_pylist()]
    place = np.full(count, len(read), np.int64)
    place[odd] = kinds.indices.to_numpy()
    index = pa.array(place)
    columns: dict[str, pa.Array] = {}
    for number, name in enumerate(_COLUMNS):
        distinct = pa.array([*(value[number] for value in read), None], _TYPES[name])
        columns[name] = distinct.take(index) if len(odd) else pa.nulls(count, _TYPES[name])
    columns["number"] = pc.coalesce(pa.array(found.value, mask=~valid), columns["number"])
    structured = np.array([*(bool(value[1] or value[3]) for value in read), False])[place]
    numeric = pc.is_valid(columns["number"]).to_numpy(zero_copy_only=False) & ~structured
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    which = np.where(structured, 1, np.where(numeric, 0, 2)).astype(np.int8)
    return {
        "value_text": texts,
        "value_type": pa.DictionaryArray.from_arrays(
            pa.array(which, mask=~there), pa.array(["NM", "SN", "ST"])
        ),
        "value_repetitions": pa.array(there.astype(np.int32)),
        **{f"value_{name}": column for name, column in columns.items()},
    }


def mapped(texts: pa.Array, translate: Callable[[str], str | None]) -> pa.Array:
    """Each text by a function that is asked once for each distinct one; null stays null."""
    kinds = texts.dictionary_encode()
    return pa.array([translate(text) for text in kinds.dictionary.to_pylist()], pa.string()).take(
        kinds.indices
    )
