"""What the city's laboratories measure, and lines of their reports with the columns they must become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from jobs.city.draft import Code
from jobs.city.truth import Row


@dataclass(frozen=True, slots=True)
class Service:
    """Something that can be ordered: a LOINC code, its text and the laboratory's section (HL7 table 0074)."""

    code: str
    display: str
    section: str

    @property
    def coding(self) -> Code:
        return Code(self.code, self.display, "LN")


@dataclass(frozen=True, slots=True)
class Analyte:
    """Something that is measured.

    Attributes:
        code: LOINC.
        local: the laboratory's own code.
        display: as people call it.
        unit: OBX-6 as sent.
        low, high: reference range.
        least, most: between which values are made up.
        dash: what stands between the ends of the range.
    """

    code: str
    local: str
    display: str
    unit: str
    low: float
    high: float
    least: float
    most: float
    dash: str = "-"

    @property
    def reference(self) -> str:
        """OBX-7."""
        return f"{self.low:g}{self.dash}{self.high:g}"

    def flag(self, value: float, in_range: str) -> str:
        """OBX-8: L, H, or what the laboratory writes where all is well."""
        return "L" if value < self.low else "H" if value > self.high else in_range


SERVICES = (
    Service("58410-2", "血常规", "HM"),
    Service("24323-8", "生化全项", "CH"),
    Service("24356-8", "尿常规", "UA"),
)

ANALYTES: tuple[Analyte, ...] = (
    Analyte("6690-2", "WBC", "白细胞计数", "10*9/L", 3.5, 9.5, 2.0, 14.0),
    Analyte("789-8", "RBC", "红细胞计数", "×10¹²/L", 3.8, 5.1, 3.0, 6.0, "～"),
    Analyte("718-7", "HGB", "血红蛋白", "g/L", 115, 150, 80, 170),
    Analyte("777-3", "PLT", "血小板计数", "×10⁹/L", 125, 350, 60, 400),
    Analyte("4544-3", "HCT", "红细胞压积", "%", 35, 45, 28, 52),
    Analyte("787-2", "MCV", "平均红细胞体积", "fL", 82, 100, 70, 110),
    Analyte("751-8", "NEUT", "中性粒细胞计数", "10*9/L^×10⁹/L^UCUM", 1.8, 6.3, 1.0, 9.0),
    Analyte("731-0", "LYMPH", "淋巴细胞计数", "10*9/L^×10⁹/L^UCUM", 1.1, 3.2, 0.5, 5.0),
    Analyte("2345-7", "GLU", "葡萄糖", "mmol/L", 3.9, 6.1, 3.0, 12.0, "～"),
    Analyte("2160-0", "CREA", "肌酐", "μmol/L", 41, 81, 30, 150),
    Analyte("3094-0", "UREA", "尿素", "mmol/L", 2.6, 7.5, 2.0, 12.0),
    Analyte("3084-1", "UA", "尿酸", "μmol/L", 155, 357, 120, 520),
    Analyte("1742-6", "ALT", "丙氨酸氨基转移酶", "U/L", 7, 40, 5, 120),
    Analyte("1920-8", "AST", "天门冬氨酸氨基转移酶", "U/L", 13, 35, 8, 110),
    Analyte("1975-2", "TBIL", "总胆红素", "μmol/L", 3.4, 20.5, 2.0, 45.0),
    Analyte("2885-2", "TP", "总蛋白", "g/L", 65, 85, 50, 95),
    Analyte("1751-7", "ALB", "白蛋白", "g/L", 40, 55, 28, 60),
    Analyte("2951-2", "NA", "钠", "mmol/L", 137, 147, 128, 152),
    Analyte("2823-3", "K", "钾", "mmol/L", 3.5, 5.3, 2.8, 6.4),
    Analyte("2075-0", "CL", "氯", "mmol/L", 99, 110, 92, 116),
    Analyte("2093-3", "TC", "总胆固醇", "mmol/L^毫摩尔每升^L", 2.8, 5.7, 2.0, 8.0),
    Analyte("2571-8", "TG", "甘油三酯", "mmol/L", 0.56, 1.7, 0.3, 4.0),
)
_TEXTS = (("阴性(-)", "阴性(-)"), ("阴性\\T\\弱阳性", "阴性&弱阳性"), ("質控觀察", "質控觀察"))
"""As sent, and with escapes resolved."""

FEWEST, MOST = 5, 20
"""Lines of a report."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of a report.

    Attributes:
        code, local, display: what was measured.
        kind: OBX-2.
        sent: OBX-5 as sent.
        text: OBX-5 with its escapes resolved.
        number, comparator: what a number says.
        coded: code, text and coding system of a coded value.
        unit: OBX-6 as sent.
        reference, flag, status: OBX-7, OBX-8, OBX-11.
        findings: codes of what is wrong with it.
    """

    code: str
    local: str
    display: str
    kind: str
    sent: str
    text: str
    number: float | None
    comparator: str | None
    coded: tuple[str, str, str] | None
    unit: str
    reference: str
    flag: str
    status: str
    findings: tuple[str, ...] = ()

    def columns(self) -> Row:
        """What the line must become in the table of observations."""
        unit = self.unit.split("^") if self.unit else []
        value_code, value_display, value_system = self.coded or (None, None, None)
        return {
            "observation_code": self.code,
            "observation_display": self.display,
            "observation_system": "LN",
            "observation_alt_code": self.local,
            "observation_alt_system": "L",
            "value_type": self.kind,
            "value_text": self.text,
            "value_number": self.number,
            "value_comparator": self.comparator,
            "value_code": value_code,
            "value_display": value_display,
            "value_system": value_system,
            "value_repetitions": 1,
            "unit_code": unit[0] if unit else None,
            "unit_display": unit[1] if len(unit) > 1 else None,
            "unit_system": unit[2] if len(unit) > 1 else None,
            "reference_range": self.reference or None,
            "interpretation": [self.flag] if self.flag else None,
            "status": self.status,
            "codes": list(self.findings),
        }


def results(rng: Random, status: str) -> list[Result]:
    """Make up the lines of a report, each of another analyte."""
    return [_result(rng, one, status) for one in rng.sample(ANALYTES, rng.randint(FEWEST, MOST))]


def corrected(rng: Random, before: Sequence[Result]) -> list[Result]:
    """The lines of a report that takes an earlier one back: some with another value, all marked as corrected."""
    by_code = {one.code: one for one in ANALYTES}
    return [
        _result(rng, by_code[one.code], "C") if rng.random() < 0.5 else replace(one, status="C")
        for one in before
    ]


def _result(rng: Random, analyte: Analyte, status: str) -> Result:
    kind = rng.choices(("NM", "SN", "ST", "CE", "none"), (79, 7, 7, 6, 1))[0]
    value = round(rng.uniform(analyte.least, analyte.most), 1)
    flag = analyte.flag(value, rng.choice(("", "N")))
    sent = text = f"{value}"
    number: float | None = value
    comparator, coded = None, None
    findings: tuple[str, ...] = ()
    unit, reference = analyte.unit, analyte.reference
    match kind:
        case "SN":
            comparator = rng.choice((">", "<"))
            sent = text = f"{comparator}^{value}"
        case "ST":
            # an escaped delimiter now and then: it is part of the text
            sent, text = rng.choice(_TEXTS)
            number, unit, reference, flag = None, "", "", ""
        case "CE":
            coded = ("260385009", "阴性", "SCT")
            sent = text = "^".join(coded)
            number, unit, reference, flag = None, "", "", "A"
        case "none":
            # laboratories do so: a word where a number must be
            kind, sent, text, number, flag, findings = "NM", "未检出", "未检出", None, "", ("HL7-NM-INVALID",)
    return Result(
        analyte.code, analyte.local, analyte.display, kind, sent, text, number, comparator, coded, unit, reference,
        flag, status, findings,
    )  # fmt: skip
