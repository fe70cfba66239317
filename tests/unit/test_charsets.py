"""Whatever charset a message is in or says it is in: its text is read as it was written, and the row says how."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from pipelines.hl7v2.decode import Decoded, decode_batch
from pipelines.hl7v2.modality import HL7V2
from pipelines.hl7v2.transcode import TABLED, charset, utf8_lengths, words_of, write_utf8
from schemas.hl7v2.charsets import CODECS, codec_of, is_unsupported, plain_name
from schemas.source import Source
from tests.unit.hl7_messages import read_all, read_one

HEAD = "MSH|^~\\&|HIS|F|||20260301||ADT^A08|C1|P|2.5.1||||||"
NAME = "王小明"


def decoded(messages: Sequence[bytes], default: str = "utf-8") -> Decoded:
    return decode_batch(pa.array(messages, pa.binary()), [default] * len(messages))


def message(declared: str, codec: str, name: str = NAME, facility: str = "F") -> bytes:
    text = f"{HEAD}{declared}\rPID|1||P1||{name}^x||19800101|F\r"
    return text.replace("|F|||", f"|{facility}|||", 1).encode(codec)


def text_of(batch: Decoded, number: int = 0) -> str:
    return batch.data[batch.starts[number] : batch.ends[number]].tobytes().decode()


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("UNICODE UTF-8", "utf-8", NAME),
        ("UNICODE", "utf-8", NAME),
        ("GB 18030-2000", "gb18030", "王㐀𠮷\ue000é"),  # of four bytes, and for private use
        ("BIG-5", "big5", "許功蓋"),
        ("BIG-5", "cp950", "碁恒"),  # of Microsoft's, which is what senders have
        ("KS X 1001", "euc_kr", "김민준"),
        ("KS X 1001", "cp949", "똠방"),
        ("8859/1", "iso8859-1", "Müller"),
        ("8859/2", "iso8859-2", "Łódź"),
        ("8859/3", "iso8859-3", "Ħ"),
        ("8859/4", "iso8859-4", "Ŗ"),
        ("8859/5", "iso8859-5", "Иванов"),
        ("8859/6", "iso8859-6", "محمد"),
        ("8859/7", "iso8859-7", "Γιώργος"),
        ("8859/8", "iso8859-8", "כהן"),
        ("8859/9", "iso8859-9", "Yıldız"),
        ("8859/15", "iso8859-15", "Œuvre €"),
        ("ISO IR14", "shift_jis", "ﾔﾏﾀﾞ"),
        ("~ISO IR87", "iso2022_jp", "山田"),
        ("ASCII~ISO IR87", "iso2022_jp", "浜、〜"),
        ("ISO IR6~ISO IR159", "iso2022_jp_ext", "丂"),
        ("ISO IR87", "iso2022_jp", "山田"),
    ],
)
def test_the_sets_of_the_standard(declared: str, codec: str, name: str) -> None:
    batch = decoded([message(declared, codec, name)])
    assert f"||{name}^x|" in text_of(batch)
    assert batch.codes == []
    assert not batch.guessed.any()
    first = declared.split("~", maxsplit=1)[0]
    assert batch.declared.to_pylist() == [first or None]


def test_no_name_is_said_twice() -> None:
    for one, other in itertools.combinations(CODECS, 2):
        assert plain_name(one.encode()) != plain_name(other.encode()) or CODECS[one] == CODECS[other]


@pytest.mark.parametrize(
    ("sent", "codec"),
    [
        ("GBK", "gb18030"),
        ("gb2312", "gb18030"),
        ("GB_18030", "gb18030"),
        ("gb18030-2022", "gb18030"),
        ("CP936", "gb18030"),
        ("utf8", "utf-8"),
        ("Utf-8", "utf-8"),
        ("UNICODE  UTF-8", "utf-8"),
        ("UTF-8 BOM", "utf-8"),
        ("Big5", "big5"),
        ("Windows-1252", "cp1252"),
        ("iso_8859-1", "iso8859-1"),
        ("ISO_IR 192", "utf-8"),
        ("UNICODE UTF-8~GB 18030-2000", "utf-8"),
        ("ASCII~GB 18030-2000", "gb18030"),
        ("~ASCII", None),
        ("", None),
        ("CNS 11643-1992", None),
        ("nonsense~UTF-8", None),
    ],
)
def test_names_as_senders_write_them(sent: str, codec: str | None) -> None:
    assert codec_of(sent.encode()) == codec


@pytest.mark.parametrize("sent", ["UNICODE UTF-16", "utf16", "UTF-16LE", "UTF_32", "UNICODE UTF-32", "UCS-2"])
def test_what_framing_makes_impossible_is_refused(sent: str) -> None:
    assert is_unsupported(sent.encode())
    parsed = read_one(message(sent, "ascii", "W"))
    assert parsed.unreadable.to_pylist() == [
        {
            "row": 0,
            "code": "HL7-CHARSET-UNSUPPORTED",
            "segment": "MSH",
            "segment_index": 0,
            "field": 18,
        }
    ]


@pytest.mark.parametrize(
    ("sent", "default", "used", "codes"),
    [
        # claim, then the source's own, then detection
        (message("GB18030", "gb18030"), "utf-8", "gb18030", []),
        (message("UTF-8", "gb18030"), "gb18030", "gb18030", ["HL7-CHARSET-MISMATCH"]),
        (message("UTF-8", "gb18030"), "utf-8", "gb18030", ["HL7-CHARSET-MISMATCH", "HL7-CHARSET-GUESSED"]),
        (message("ASCII", "gb18030"), "gb2312", "gb18030", ["HL7-CHARSET-MISMATCH"]),
        (message("8859/6", "utf-8"), "big5", "utf-8", ["HL7-CHARSET-MISMATCH", "HL7-CHARSET-GUESSED"]),
        (message("", "gb18030"), "gb18030", "gb18030", []),
        (message("", "gb18030"), "utf-8", "gb18030", ["HL7-CHARSET-GUESSED"]),
        (message("", "iso8859-1", "é x"), "utf-8", "latin-1", ["HL7-CHARSET-GUESSED"]),
        (message("martian", "gb18030"), "gb18030", "gb18030", ["HL7-CHARSET-UNKNOWN"]),
        (message("martian", "gb18030"), "utf-8", "gb18030", ["HL7-CHARSET-UNKNOWN", "HL7-CHARSET-GUESSED"]),
        (message("8859/1", "gb18030"), "utf-8", "iso8859-1", []),  # every byte is one of its characters
        (b"\xef\xbb\xbf" + message("GB18030", "utf-8"), "gb18030", "utf-8", ["HL7-CHARSET-MISMATCH"]),
        # mojibake that only shows in that it is UTF-8 too
        (message("GB18030", "utf-8"), "utf-8", "gb18030", ["HL7-CHARSET-DOUBTFUL"]),
        (message("8859/1", "utf-8"), "utf-8", "iso8859-1", ["HL7-CHARSET-DOUBTFUL"]),
        (message("EUC-JP", "euc_jp", "山田"), "utf-8", "euc_jp", []),
    ],
)
def test_who_is_believed(sent: bytes, default: str, used: str, codes: list[str]) -> None:
    batch = decoded([sent], default)
    assert batch.codec_of(0) == used
    assert sorted(code for _, code in batch.codes) == sorted(codes)
    assert batch.guessed.tolist() == ["HL7-CHARSET-GUESSED" in codes]
    assert all((one.segment, one.field) == ("MSH", 18) for one in batch.found)


def test_a_batch_of_many_charsets_says_of_each_message_its_own() -> None:
    kinds = [
        ("UNICODE UTF-8", "utf-8", NAME),
        ("GBK", "gb18030", NAME),
        ("BIG-5", "big5", "許功蓋"),
        ("", "ascii", "W"),
    ]
    kinds += [("8859/1", "iso8859-1", "Bé"), ("~ISO IR87", "iso2022_jp", "山田"), ("", "gb18030", "葉")]
    sent = [
        message(declared, codec, name, facility)
        for declared, codec, name in kinds
        for facility in ("F", name)
    ] * 3
    sent[5:5] = [b"no message", b""]
    batch = decoded(sent)
    assert [one.row for one in batch.unreadable] == [5, 6]
    names = [name for _, _, name in kinds for _ in range(2)] * 3
    assert batch.rows.tolist() == [row for row in range(len(sent)) if row not in {5, 6}]
    for number, name in enumerate(names):
        assert f"||{name}^x|" in text_of(batch, number)
    alone = [decoded([one]) for one in sent if one not in (b"no message", b"")]
    assert [text_of(one) for one in alone] == [text_of(batch, number) for number in range(len(names))]
    assert [one.codec_of(0) for one in alone] == [batch.codec_of(number) for number in range(len(names))]
    assert [one.declared.to_pylist()[0] for one in alone] == batch.declared.to_pylist()


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("shift_jis", "ポ十ﾎﾟ"),
        ("cp932", "ポ①"),
        ("cp950", "碁許功"),
        ("big5hkscs", "許蓋"),
        ("iso2022_jp", "浜、"),
    ],
)
def test_what_a_source_sends_without_saying(codec: str, name: str) -> None:
    for usual in (message("", codec, name, name), message("", codec, "W")):
        other = usual.replace(b"\r", b"\r\n ")
        for sent in (usual, other, other[:3].lower() + other[3:]):
            batch = decoded([sent, b"", usual], codec)
            assert batch.codes == []
            shown = text_of(batch)
            assert shown[3:] == sent.decode(codec)[3:]
            envelope = HL7V2.envelopes([sent], [Source("a", charset=codec)])
            assert envelope.column("control_id").to_pylist() == ["C1"]


def test_more_names_than_are_told_apart() -> None:
    sent = [message(f"name {number}", "gb18030") for number in range(200)] + [message("x" * 500, "gb18030")]
    batch = decoded(sent, "gb18030")
    assert {text_of(batch, number)[-20:] for number in range(201)} == {text_of(batch)[-20:]}
    assert batch.declared.to_pylist() == [f"name {number}" for number in range(200)] + ["x" * 500]
    assert sorted(batch.codes) == [(number, "HL7-CHARSET-UNKNOWN") for number in range(201)]


# Ideographs whose second byte is a delimiter ---------------------------------------------------------------------
#
# The unified ideographs of GB 13000.1 (U+4E00 to U+9FA5, all of GBK's) have two bytes in GB 18030; of 116 of them the
# second is that of "|", and of as many each that of "^", "~" and the backslash. "&" (0x26) is never a second byte.
# In Big5 it is 84 for "|", "~" and so on among those of the range that Big5 has.

DELIMITERS = "|^~\\&"


def with_trail(codec: str, delimiter: str) -> list[str]:
    found = []
    for point in range(0x4E00, 0x9FA6):
        try:
            code = chr(point).encode(codec)
        except UnicodeEncodeError:
            continue
        if len(code) == 2 and code[1] == ord(delimiter):
            found.append(chr(point))
    return found


@pytest.mark.parametrize(
    ("codec", "counts"), [("gb18030", [116, 116, 116, 116, 0]), ("big5", [84, 85, 84, 85, 0])]
)
def test_how_many_there_are(codec: str, counts: list[int]) -> None:
    assert [len(with_trail(codec, delimiter)) for delimiter in DELIMITERS] == counts


@pytest.mark.parametrize(("codec", "declared"), [("gb18030", "GB 18030-2000"), ("big5", "BIG-5")])
@pytest.mark.parametrize("said", [True, False], ids=["declared", "of the source"])
def test_ideographs_that_end_like_a_delimiter(codec: str, declared: str, said: bool) -> None:
    characters = [one for delimiter in DELIMITERS for one in with_trail(codec, delimiter)]
    head = HEAD + (declared if said else "")
    names = [*characters, "".join(characters)]
    sent = [
        f"{head}\rPID|1||P1||{one}^{one}x~{one}||19800101|F\r"
        f"OBR|1|P^N|F^N|C^{one}^L\r"
        f"OBX|1|NM|c^{one}^L|{one}|1.5|{one}^{one}|1-2||||F\r"
        f"OBX|2|TX|c^{one}^L||{one} {one}\\F\\{one}||||||F\r".replace("ADT^A08", "ORU^R01")
        for one in names
    ]
    parsed = read_all([text.encode(codec) for text in sent], charset=codec)
    patients = parsed.tables["normalised/patient"].to_pylist()
    assert [(row["family_name"], row["given_name"]) for row in patients] == [
        (one, f"{one}x") for one in names
    ]
    results = parsed.tables["normalised/observation"].to_pylist()
    assert [
        (row["unit_code"], row["unit_display"], row["observation_display"], row["value_number"])
        for row in results[::2]
    ] == [(one, one, one, 1.5) for one in names]
    assert [row["value_text"] for row in results[1::2]] == [f"{one} {one}|{one}" for one in names]
    assert parsed.messages.column("codes").to_pylist() == [[]] * len(names)


# The tables against Python's own codecs --------------------------------------------------------------------------


def by_table(pieces: list[bytes], codec: str) -> list[bytes | None]:
    """Pieces that stand one after the other, each decoded for itself."""
    table = charset(codec)
    data = np.frombuffer(b"".join(pieces), np.uint8)
    words = words_of(data)
    ends = np.cumsum([len(piece) for piece in pieces])
    starts = np.append(0, ends[:-1])
    lengths = utf8_lengths(data, words, starts, ends, table.singles, table.doubles, table.fours)
    fits = np.flatnonzero(lengths >= 0)
    to = np.cumsum(lengths[fits])
    target = np.zeros(to[-1], np.uint8)
    low = to - lengths[fits]
    write_utf8(data, words, starts[fits], ends[fits], table.singles, table.doubles, table.fours, target, low)
    result: list[bytes | None] = [None] * len(pieces)
    for piece, place, end in zip(fits.tolist(), low.tolist(), to.tolist(), strict=True):
        result[piece] = target[place:end].tobytes()
    return result


@pytest.mark.parametrize("codec", sorted(TABLED))
def test_the_tables_read_as_pythons_codecs_do(codec: str) -> None:
    random = np.random.default_rng(7)
    assert bytes(range(128)).decode(codec) == bytes(range(128)).decode("ascii")
    pieces = [bytes(random.integers(0, 256, random.integers(0, 9), np.uint8)) for _ in range(20_000)]
    pieces += [bytes([first, second]) for first in range(256) for second in range(256)]
    pieces += [b"a" * 20 + bytes([first, 0x41]) + b"b" * 20 for first in range(256)]
    if codec == "gb18030":
        fours = random.integers([0x80, 0x2F, 0x80, 0x2F], [0x100, 0x3B, 0x100, 0x3B], (20_000, 4))
        pieces += [bytes(row) for row in fours.astype(np.uint8)]
        pieces += [chr(point).encode(codec) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    expected: list[bytes | None] = []
    for piece in pieces:
        try:
            expected.append(piece.decode(codec).encode())
        except UnicodeDecodeError:
            expected.append(None)
    assert by_table(pieces, codec) == expected
