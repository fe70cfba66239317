"""The pages of ``docs/`` that are made from literals: ``python -m jobs.document`` writes them.

A page says what the literals say and nothing else; a test compares the pages with what this makes of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from schemas.findings import DICOM_FINDINGS, FINDINGS, Finding, Severity
from schemas.hl7v2.datatypes import DATA_TYPES, data_type_of
from schemas.hl7v2.mapping import Family, TableMapping
from schemas.hl7v2.mappings import FAMILIES, IGNORED
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.table import INSTANT, Field, Table
from schemas.tables.columns import ORIGIN
from schemas.tables.imaging import IMAGING
from schemas.tables.normalised import NORMALISED

_TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.string(): "text",
        pa.float64(): "number",
        pa.int16(): "whole number",
        pa.int32(): "whole number",
        pa.int64(): "whole number",
        pa.bool_(): "yes or no",
        pa.date32(): "date",
        INSTANT: "instant",
    }
)

_FOLLOWS = re.compile(r"(.+)_(?:precision|offset)")

_MEANING: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.QUARANTINED: "The message cannot be read at all; it is in `ops.quarantine`, its bytes stay in raw.",
        Severity.IGNORED: "The message is readable but not wanted; the ledger says why, its bytes stay in raw.",
        Severity.WARNING: "Read, but a value or the whole text may not be what the sender meant.",
        Severity.NOTICE: "Read as meant; the sender deviates from the standard.",
    }
)


_PATIENT = "patient …"

_GENERATED = "<!-- made by `python -m jobs.document` from schemas/; change it there -->"

_FAMILIES_HEAD = f"""\
# HL7 v2: messages and the tables they become

{_GENERATED}

Which messages become which rows, and from where in a message each column comes. Names follow FHIR R5, places HL7's
v2-to-FHIR mappings. Every message gives one row of `message_header`, and one row of `finding` for each deviation;
every segment that no table takes is kept whole in `segment`.

## Families
"""

_COLUMNS_HEAD = """\
## How to read the columns

*From* says where a value stands: `PID-5.1.1` is the first subcomponent of the first component of field 5. Several
places are tried in turn; a list holds the repetitions of all of them. A telephone number that was sent in parts only
is joined of XTN.5 to XTN.8: `+86 851 5551234 x12`. `PID(1)-3` is the message's first PID,
`PV1(next)-19` the first PV1 after the row. An *instant* is in UTC; beside it `<name>_precision` says how precise it was
sent and `<name>_offset` the minutes east of UTC that it was told in. The text `""` means that the sender deletes a
value. Every table has these columns first:
"""

_FINDINGS_HEAD = f"""\
# HL7 v2: findings

{_GENERATED}

Whatever deviates in a message has a stable code. The codes of a row stand in its column `codes`, each with its place in
the table `finding`; those that decide what becomes of a message stand in the ledger."""


def families_page() -> str:
    """Every family of HL7 v2 messages with its tables, and every table with its columns and their places."""
    structures = (
        (
            _structure(one.struct),
            one.name,
            ", ".join(
                f"`{part}` {' or '.join(map(_component, places))}" for part, places in one.parts.items()
            ),
        )
        for one in DATA_TYPES
    )
    return "\n".join(
        [
            _FAMILIES_HEAD,
            *_table(("messages", "what they are", "tables", "standard"), map(_family, FAMILIES)),
            "",
            f"`{_PATIENT}` stands for {', '.join(_link(name) for name in _names(PATIENT_AND_VISIT))}.",
            "",
            "Replies and queries state nothing of their own and are ignored with a finding:",
            "",
            *_table(("messages", "finding"), _ignored()),
            "",
            "Of any other message every segment is kept in `segment`.",
            "",
            _COLUMNS_HEAD,
            *_table(("column", "type", "meaning", "from"), (_column(field, ()) for field in _shown(ORIGIN))),
            "",
            "Lists hold structures:",
            "",
            *_table(("structure", "HL7 type", "parts (component of the type)"), structures),
            *(line for table in NORMALISED for line in _section(table)),
            "",
        ]
    )


_IMAGING_HEAD = f"""\
# DICOM: columns and findings

{_GENERATED}

What the headers of DICOM instances become; [imaging.md](imaging.md) tells how they come in and what is so now. *From*
is the attribute's tag; `(0040,0275)>(0040,0009)` stands in the first item of a sequence. An *instant* is in UTC; beside
it `<name>_precision` says how precise it was sent and `<name>_offset` the minutes east of UTC that it was told in.
Every table has the columns that say [where a row comes from](hl7v2-families.md#how-to-read-the-columns) first; its
version time is the time of receipt.
"""


def findings_page() -> str:
    """Every finding but those of images, with its code, severity and sentence."""
    found = [finding for finding in FINDINGS.values() if finding not in DICOM_FINDINGS]
    return "\n".join([_FINDINGS_HEAD, *_by_severity(found, "##"), ""])


def imaging_page() -> str:
    """The tables of images with their columns, and the findings on headers."""
    return "\n".join(
        [
            _IMAGING_HEAD.rstrip(),
            *(line for table in IMAGING for line in _section(table)),
            "",
            "## Findings",
            *_by_severity(DICOM_FINDINGS, "###"),
            "",
        ]
    )


def _by_severity(findings: Iterable[Finding], level: str) -> Iterator[str]:
    findings = tuple(findings)
    for severity in Severity:
        found = [finding for finding in findings if finding.severity is severity]
        yield from ("", f"{level} {severity.value.capitalize()}", "", _MEANING[severity], "")
        yield from _table(
            ("code", "what it says", "standard"),
            ((f"`{finding.code}`", finding.sentence, finding.standard) for finding in found),
        )


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "docs/hl7v2-families.md": families_page,
        "docs/hl7v2-findings.md": findings_page,
        "docs/imaging-columns.md": imaging_page,
    }
)
"""Path in the repository → what makes the page."""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _family(family: Family) -> tuple[str, ...]:
    tables = _names(family.mappings)
    shared = _names(PATIENT_AND_VISIT)
    if set(shared) <= set(tables):
        tables = [_PATIENT, *(name for name in tables if name not in shared)]
    default = f", else {family.default_trigger}" if family.default_trigger else ""
    return (
        f"{family.code} {_ranges(family.triggers)}{default}",
        family.doc,
        ", ".join(f"`{name}`" if name == _PATIENT else _link(name) for name in tables),
        family.standard,
    )


def _names(mappings: Iterable[TableMapping]) -> list[str]:
    """The tables of some mappings, by name and without their layer."""
    return list(dict.fromkeys(mapping.table.name.partition("/")[2] for mapping in mappings))


def _ignored() -> Iterator[tuple[str, ...]]:
    for finding in dict.fromkeys(IGNORED.values()):
        yield " ".join(code for code, why in IGNORED.items() if why == finding), f"`{finding}`"


def _ranges(triggers: Iterable[str]) -> str:
    """``A01–A16 A19``: triggers that follow one another as one."""
    runs: list[list[str]] = []
    for trigger in sorted(triggers):
        head, digits = _parted(trigger)
        if runs and _parted(runs[-1][-1]) == (head, digits - 1):
            runs[-1].append(trigger)
        else:
            runs.append([trigger])
    return " ".join(run[0] if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _parted(trigger: str) -> tuple[str, int]:
    head = trigger.rstrip("0123456789")
    return head, int(trigger[len(head) :])


def _link(name: str) -> str:
    return f"[{name}](#{name})"


def _section(table: Table) -> Iterator[str]:
    name = table.name.partition("/")[2]
    mappings = tuple(
        {id(one): one for family in FAMILIES for one in family.mappings if one.table is table}.values()
    )
    yield from ("", f"## {name}", "", table.doc)
    if mappings:
        yield from ("", f"One row for each {_rows(mappings)}.")
    origin = {field.name for field in ORIGIN}
    own = [field for field in _shown(table.fields) if field.name not in origin]
    yield ""
    yield from _table(("column", "type", "meaning", "from"), (_column(field, mappings) for field in own))


def _rows(mappings: tuple[TableMapping, ...]) -> str:
    """What makes a row: ``RXO without RXE (version: ORC-9), …``."""
    parts = []
    for mapping in mappings:
        part = f"{mapping.segment} after the first" if mapping.later else mapping.segment
        if mapping.unless:
            part += f" whose order has no {' or '.join(mapping.unless)}"
        version = ", else ".join([*map(str, mapping.version), "MSH-7"])
        parts.append(f"{part} (versions are ordered by {version})")
    return "; ".join(parts)


def _shown(fields: Iterable[Field]) -> list[Field]:
    """Fields without those that follow an instant."""
    fields = list(fields)
    instants = {field.name for field in fields if field.type == INSTANT}
    return [field for field in fields if not _follows(field.name, instants)]


def _follows(name: str, instants: set[str]) -> bool:
    match = _FOLLOWS.fullmatch(name)
    return match is not None and match[1] in instants


def _column(field: Field, mappings: tuple[TableMapping, ...]) -> tuple[str, ...]:
    places = dict.fromkeys(str(place) for mapping in mappings for place in mapping.places.get(field.name, ()))
    return (f"`{field.name}`", _type(field.type), field.doc, ", ".join(places) or field.standard)


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    return _structure(kind) if pa.types.is_struct(kind) else _TYPES[kind]


def _structure(kind: pa.DataType) -> str:
    """The name of a structure: HL7's of the data type where there is one."""
    try:
        return _STRUCTURES[data_type_of(kind).name]
    except KeyError:
        return "values"


_STRUCTURES: Mapping[str, str] = MappingProxyType(
    {
        "CX": "identifiers", "XPN": "names", "XAD": "addresses", "XTN": "contact points",
        "CWE": "codeable concepts", "XCN": "practitioners", "XON": "organisations", "PL": "places",
        "EI": "entities", "PLN": "qualifications",
    }
)  # fmt: skip


def _component(part: tuple[int, int]) -> str:
    return f"{part[0]}.{part[1]}" if part[1] else str(part[0])


def main() -> None:
    """Write all pages."""
    root = Path(__file__).parents[1]
    for path, page in PAGES.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(page(), "utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
