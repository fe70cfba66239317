"""Keys of things: stable 64-bit hashes of columns, by which the versions of a thing find each other.

A text hashes alike wherever it stands: spaces around it do not count, and what is empty or ``""`` is absent. 0 is the
hash of what is absent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from lake_layout.columns import whole
from pipelines.kernel import kernel
from schemas.fold import Codes, Key, Part
from schemas.source import NO_SOURCES, Sources

I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
U64 = np.ndarray[tuple[int], np.dtype[np.uint64]]
U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I32 = np.ndarray[tuple[int], np.dtype[np.int32]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

_MICROSECONDS = {"day": "D", "month": "M", "year": "Y"}


@kernel
def _hash_bytes(data: U8, offsets: I32, out: U64) -> None:
    """FNV-1a of each text without the spaces around it, finished as MurmurHash3 is; 0 of nothing and of ``""``."""
    for row in range(len(out)):
        low = offsets[row]
        high = offsets[row + 1]
        while low < high and data[low] == 0x20:
            low += 1
        while low < high and data[high - 1] == 0x20:
            high -= 1
        if low == high or (high - low == 2 and data[low] == 0x22 and data[low + 1] == 0x22):
            out[row] = 0
            continue
        hashed = np.uint64(0xCBF29CE484222325)
        for at in range(low, high):
            hashed = (hashed ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        hashed = (hashed ^ (hashed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        hashed = (hashed ^ (hashed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        hashed = hashed ^ (hashed >> np.uint64(33))
        out[row] = hashed if hashed != 0 else np.uint64(1)


def hash_of_texts(column: pa.Array | pa.ChunkedArray) -> U64:
    """The hash of each text; of a dictionary each text is hashed once."""
    texts = whole(column)
    if pa.types.is_dictionary(texts.type):
        of_each = np.append(hash_of_texts(texts.dictionary), np.uint64(0))
        found: U64 = of_each[pc.fill_null(texts.indices, len(texts.dictionary)).to_numpy()]
        return found
    hashed = np.zeros(len(texts), np.uint64)
    if texts.null_count == len(texts):
        return hashed
    texts = texts.cast(pa.string())
    _, offsets, data = texts.buffers()
    begins = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    _hash_bytes(np.frombuffer(data, np.uint8) if data is not None else np.zeros(1, np.uint8), begins, hashed)
    if texts.null_count:
        hashed[pc.is_null(texts).to_numpy(zero_copy_only=False)] = 0
    return hashed


def hash_of(column: pa.Array | pa.ChunkedArray) -> U64:
    """The hash of each value of a column of any plain type."""
    kind = column.type
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return hash_of_texts(column)
    if pa.types.is_null(kind):
        return np.zeros(len(column), np.uint64)
    values = whole(column)
    absent = pc.is_null(values).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(kind):
        bits = (pc.fill_null(values, 0.0).to_numpy() + 0.0).view(np.uint64)  # -0.0 is 0.0
    else:
        plain = values.cast(pa.int32()) if pa.types.is_date32(kind) else values
        bits = pc.fill_null(plain.cast(pa.int64()), 0).to_numpy().view(np.uint64)
    hashed = mixed(np.full(len(bits), 0x9E3779B97F4A7C15, np.uint64), bits)
    hashed[hashed == 0] = 1
    hashed[absent] = 0
    return hashed


def mixed(first: U64, *more: U64) -> U64:
    """Hashes joined to one, in their order."""
    with np.errstate(over="ignore"):
        for one in more:
            first = (first ^ one) * np.uint64(0x9E3779B97F4A7C15)
            first = (first ^ (first >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
            first ^= first >> np.uint64(29)
    return first


def text_column(rows: pa.Table, name: str) -> pa.Array | pa.ChunkedArray:
    """A column, or what is read from ``message_type`` and ``event_code``.

    Args:
        rows: rows of a normalised table.
        name: a column; ``trigger`` (MSH-9.2, else EVN-1); ``message_code`` (MSH-9.1).
    """
    if name not in {"trigger", "message_code"}:
        return rows.column(name)
    encoded = whole(rows.column("message_type"))
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    place = 1 if name == "trigger" else 0
    parts = [[*(text or "").split("^"), ""][place].strip() or None for text in encoded.dictionary.to_pylist()]
    found = pa.array(parts, pa.string()).take(encoded.indices)
    if name == "trigger" and "event_code" in rows.column_names:
        return pc.coalesce(found, whole(rows.column("event_code")).cast(pa.string()))
    return found


def has_code(rows: pa.Table, codes: Codes) -> Bools:
    """Which rows have one of some codes."""
    return is_one_of(text_column(rows, codes.column), codes.codes)


def is_one_of(column: pa.Array | pa.ChunkedArray, codes: frozenset[str]) -> Bools:
    """Which texts are one of some codes, whatever their case and the spaces around them."""
    texts = whole(column)
    if texts.null_count == len(texts):
        return np.zeros(len(texts), bool)
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    wanted = [(text or "").strip().upper() in codes for text in encoded.dictionary.to_pylist()]
    known = np.array([*wanted, False])
    found: Bools = known[pc.fill_null(encoded.indices, len(wanted)).to_numpy()]
    return found


@dataclass(frozen=True)
class Named:
    """What names each row.

    Attributes:
        key: the hash of its key.
        weak: whether it names circumstances only.
        alias: the hash by which another number may be found that the thing is known by; 0 where there is none.
        alias_target: hash of the key that the thing is known by, where the row itself says both numbers.
        alias_sources: hashes that lead there (of each row that says both, two columns); 0 where there is none.
        alias_own: hash of the key that the thing is known by while nobody has said both.
    """

    key: I64
    weak: Bools
    alias: I64
    alias_target: I64
    alias_sources: tuple[I64, I64]
    alias_own: I64


class Hasher:
    """Hashes the parts of keys of some rows, each once."""

    def __init__(self, rows: pa.Table, sources: Sources = NO_SOURCES) -> None:
        self.rows = rows
        self.sources = sources
        self._parts: dict[tuple[str, Part], U64] = {}
        self._coded: dict[Codes, Bools] = {}
        self._named: dict[tuple[Key, ...], Named] = {}

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def part(self, name: str, kind: Part) -> U64:
        """The hash of a part."""
        if (name, kind) not in self._parts:
            self._parts[name, kind] = self._read(name, kind)
        return self._parts[name, kind]

    def _read(self, name: str, kind: Part) -> U64:
        if kind is Part.CODE:
            return self._code(name)
        if kind is Part.PERIOD:
            return self._period(name)
        if kind is Part.VISIT:
            return self._visit(name)
        hashed = hash_of(text_column(self.rows, name))
        if kind is Part.AUTHORITY:
            speaker = mixed(self._seed("authority"), self._value("source"), self._value("institution"))
            return np.where(hashed != 0, hashed, speaker)
        return hashed

    def _value(self, name: str) -> U64:
        return self.part(name, Part.VALUE)

    def _seed(self, name: str) -> U64:
        return np.full(len(self), xxhash.xxh3_64_intdigest(name.encode()), np.uint64)

    def _code(self, name: str) -> U64:
        """(code, system), else (alternate code, alternate system), else the text without case and width."""
        there = set(self.rows.column_names)
        head = f"{name}_code" if f"{name}_code" in there else name
        code = self._value(head)
        found = np.where(code != 0, mixed(code, self._value(f"{name}_system")), np.uint64(0))
        if (found != 0).all():
            return found
        if f"{name}_alt_code" in there:
            code = self._value(f"{name}_alt_code")
            other = np.where(code != 0, mixed(code, self._value(f"{name}_alt_system")), np.uint64(0))
            found = np.where(found != 0, found, other)
        texts = [whole(self.rows.column(one)) for one in (f"{name}_display", f"{name}_text") if one in there]
        for text in texts:
            if text.null_count < len(text) and not (found != 0).all():
                plain = _plain(text)
                found = np.where(found != 0, found, np.where(plain != 0, mixed(plain, plain), np.uint64(0)))
        return found

    def _scoped(self, what: str) -> dict[str, str]:
        names = pc.unique(self.rows.column("source").cast(pa.string())).to_pylist()
        scopes = {name: str(getattr(self.sources.get(name), what)) for name in names}
        return {name: scope for name, scope in scopes.items() if scope != "ever"}

    def _period(self, name: str) -> U64:
        """0 where a source's numbers are given once and for all."""
        found = np.zeros(len(self), np.uint64)
        for source, scope in self._scoped("order_id_scope").items():
            mine = pc.equal(self.rows.column("source").cast(pa.string()), source).to_numpy()
            periods = self._dates(name).astype(f"datetime64[{_MICROSECONDS[scope]}]").astype(np.int64)
            found[mine] = mixed(self._seed(scope), periods.view(np.uint64))[mine]
        return found

    def _visit(self, name: str) -> U64:
        found = np.zeros(len(self), np.uint64)
        for source, scope in self._scoped("visit_number_scope").items():
            mine = pc.equal(self.rows.column("source").cast(pa.string()), source).to_numpy()
            if scope == "patient":
                within = mixed(self._value("patient_authority"), self._value("patient_id"))
            else:
                within = self._dates(name).astype("datetime64[D]").astype(np.int64).view(np.uint64)
            found[mine] = mixed(self._seed(scope), within)[mine]
        return found

    def _dates(self, name: str) -> np.ndarray:
        """A column of times or dates, else the date of the message; 1970 where there is neither."""
        column = whole(self.rows.column(name))
        days = (
            column if pa.types.is_date32(column.type) else column.cast(pa.timestamp("us")).cast(pa.date32())
        )
        days = pc.coalesce(days, whole(self.rows.column("event_date")))
        numbers: np.ndarray = pc.fill_null(days.cast(pa.int32()), 0).to_numpy()
        return numbers.astype("datetime64[D]")

    def joined(self, key: Key) -> U64:
        """The hash of a key by one way of naming."""
        return mixed(self._seed(key.name), *(self.part(*part) for part in key.parts))

    def fits(self, key: Key) -> Bools:
        """Which rows a way of naming is for."""
        fits = np.ones(len(self), bool)
        for need in key.needs:
            kind = next((kind for column, kind in key.parts if column == need), Part.VALUE)
            fits &= self.part(need, kind) != 0
        if key.when is not None:
            fits &= self._has(key.when)
        if key.unless is not None:
            fits &= ~self._has(key.unless)
        return fits

    def _has(self, codes: Codes) -> Bools:
        if codes not in self._coded:
            self._coded[codes] = has_code(self.rows, codes)
        return self._coded[codes]

    def first(self, keys: Sequence[Key]) -> U64:
        """The hash by the first way of naming that is for each row; 0 where none is."""
        found = np.zeros(len(self), np.uint64)
        for key in keys:
            if (found != 0).all():
                break
            found = np.where((found == 0) & self.fits(key), self.joined(key), found)
        return found

    def named(self, keys: Sequence[Key]) -> Named:
        """What names each row: the first way of naming that is for it, else its place in Kafka."""
        asked = tuple(keys)
        if asked not in self._named:
            self._named[asked] = self._name(asked)
        return self._named[asked]

    def _name(self, keys: Sequence[Key]) -> Named:
        found, alias = np.zeros(len(self), np.uint64), np.zeros(len(self), np.uint64)
        weak = np.zeros(len(self), bool)
        target, before = np.zeros(len(self), np.uint64), np.zeros(len(self), np.uint64)
        beside, alone = np.zeros(len(self), np.uint64), np.zeros(len(self), np.uint64)
        by_name = {key.name: key for key in keys}
        for key in keys:
            fits = self.fits(key)
            mine = (found == 0) & fits
            if key.alias_of is not None and key.alias_beside is not None and fits.any():
                own, part = self.joined(key), self.part(*key.alias_beside)
                wider = mixed(own, part)
                alias = np.where(mine, wider, alias)
                other = by_name[key.alias_of]
                both = fits & self.fits(other)
                target = np.where(both, self.joined(other), target)
                before = np.where(both, own, before)
                beside = np.where(both, wider, beside)
                alone = np.where(both & (part != 0), mixed(own, np.zeros_like(own)), alone)
            if mine.any():
                found = np.where(mine, self.joined(key), found)
                weak |= mine & key.weak
        nameless = found == 0
        if nameless.any():
            place = [self._value(name) for name in ("topic_id", "partition", "offset", "segment_index")]
            found = np.where(nameless, mixed(self._seed("row"), *place), found)
            weak |= nameless
        return Named(
            found.view(np.int64), weak, alias.view(np.int64), target.view(np.int64),
            (beside.view(np.int64), alone.view(np.int64)), before.view(np.int64),
        )  # fmt: skip


def _plain(texts: pa.Array) -> U64:
    """Hashes of texts without case and width (NFKC)."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    plain = [
        None if text is None else " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        for text in encoded.dictionary.to_pylist()
    ]
    return hash_of_texts(pa.DictionaryArray.from_arrays(encoded.indices, pa.array(plain, pa.string())))
