"""Well-known laboratory concepts: LOINC code, the unit that values are compared in, and molar mass.

The unit is one of the kind that the code's property asks for (mass for MCnc, substance for SCnc), as LOINC's own
example units are; of several the one that is customary in China. Molar masses follow from the standard atomic weights
(IUPAC 2021) and the molecular formula given. Names are descriptions, not LOINC's own; LOINC codes are used under the
LOINC licence (loinc.org/license).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Analyte:
    """A concept.

    Attributes:
        loinc: its code.
        display: what it is.
        unit: canonical unit, a UCUM code.
        molar_mass: grams per mole of what is counted; None where mass and amount cannot be turned into each other.
    """

    loinc: str
    display: str
    unit: str
    molar_mass: float | None = None


_GLUCOSE = 180.156  # C6H12O6
_CREATININE = 113.120  # C4H7N3O
_UREA = 60.056  # CH4N2O
_UREA_NITROGEN = 28.014  # N2: two atoms of nitrogen in a molecule of urea
_URATE = 168.112  # C5H4N4O3
_BILIRUBIN = 584.673  # C33H36N4O6
_CHOLESTEROL = 386.664  # C27H46O
_TRIGLYCERIDE = 885.45  # C57H104O6, triolein, by which mean triglycerides are reckoned
_CALCIUM, _MAGNESIUM, _IRON, _PHOSPHORUS = 40.078, 24.305, 55.845, 30.974
_SODIUM, _POTASSIUM, _CHLORINE = 22.990, 39.098, 35.453
_LACTATE = 90.078  # C3H6O3
_THYROXINE = 776.87  # C15H11I4NO4
_TRIIODOTHYRONINE = 650.974  # C15H12I3NO4
_CORTISOL = 362.466  # C21H30O5

_ALL: Final = (
    Analyte("2345-7", "Glucose, mass, serum or plasma", "mg/dL", _GLUCOSE),
    Analyte("14749-6", "Glucose, amount, serum or plasma", "mmol/L", _GLUCOSE),
    Analyte("2339-0", "Glucose, mass, blood", "mg/dL", _GLUCOSE),
    Analyte("15074-8", "Glucose, amount, blood", "mmol/L", _GLUCOSE),
    Analyte("2160-0", "Creatinine, mass, serum or plasma", "mg/dL", _CREATININE),
    Analyte("14682-9", "Creatinine, amount, serum or plasma", "umol/L", _CREATININE),
    Analyte("3094-0", "Urea nitrogen, mass, serum or plasma", "mg/dL", _UREA_NITROGEN),
    Analyte("14937-7", "Urea nitrogen, amount of urea, serum or plasma", "mmol/L", _UREA_NITROGEN),
    Analyte("3091-6", "Urea, mass, serum or plasma", "mg/dL", _UREA),
    Analyte("22664-7", "Urea, amount, serum or plasma", "mmol/L", _UREA),
    Analyte("3084-1", "Urate, mass, serum or plasma", "mg/dL", _URATE),
    Analyte("14933-6", "Urate, amount, serum or plasma", "umol/L", _URATE),
    Analyte("1975-2", "Bilirubin total, mass, serum or plasma", "mg/dL", _BILIRUBIN),
    Analyte("14631-6", "Bilirubin total, amount, serum or plasma", "umol/L", _BILIRUBIN),
    Analyte("1968-7", "Bilirubin direct, mass, serum or plasma", "mg/dL", _BILIRUBIN),
    Analyte("14629-0", "Bilirubin direct, amount, serum or plasma", "umol/L", _BILIRUBIN),
    Analyte("2093-3", "Cholesterol, mass, serum or plasma", "mg/dL", _CHOLESTEROL),
    Analyte("14647-2", "Cholesterol, amount, serum or plasma", "mmol/L", _CHOLESTEROL),
    Analyte("2085-9", "HDL cholesterol, mass, serum or plasma", "mg/dL", _CHOLESTEROL),
    Analyte("14646-4", "HDL cholesterol, amount, serum or plasma", "mmol/L", _CHOLESTEROL),
    Analyte("13457-7", "LDL cholesterol, mass, calculated", "mg/dL", _CHOLESTEROL),
    Analyte("22748-8", "LDL cholesterol, amount, serum or plasma", "mmol/L", _CHOLESTEROL),
    Analyte("2571-8", "Triglyceride, mass, serum or plasma", "mg/dL", _TRIGLYCERIDE),
    Analyte("14927-8", "Triglyceride, amount, serum or plasma", "mmol/L", _TRIGLYCERIDE),
    Analyte("2951-2", "Sodium, amount, serum or plasma", "mmol/L", _SODIUM),
    Analyte("2823-3", "Potassium, amount, serum or plasma", "mmol/L", _POTASSIUM),
    Analyte("2075-0", "Chloride, amount, serum or plasma", "mmol/L", _CHLORINE),
    Analyte("17861-6", "Calcium, mass, serum or plasma", "mg/dL", _CALCIUM),
    Analyte("2000-8", "Calcium, amount, serum or plasma", "mmol/L", _CALCIUM),
    Analyte("2777-1", "Phosphate, mass of phosphorus, serum or plasma", "mg/dL", _PHOSPHORUS),
    Analyte("14879-1", "Phosphate, amount, serum or plasma", "mmol/L", _PHOSPHORUS),
    Analyte("19123-9", "Magnesium, mass, serum or plasma", "mg/dL", _MAGNESIUM),
    Analyte("2601-3", "Magnesium, amount, serum or plasma", "mmol/L", _MAGNESIUM),
    Analyte("2498-4", "Iron, mass, serum or plasma", "ug/dL", _IRON),
    Analyte("14798-3", "Iron, amount, serum or plasma", "umol/L", _IRON),
    Analyte("2524-7", "Lactate, amount, serum or plasma", "mmol/L", _LACTATE),
    Analyte("2885-2", "Protein total, mass, serum or plasma", "g/L"),
    Analyte("1751-7", "Albumin, mass, serum or plasma", "g/L"),
    Analyte("1742-6", "Alanine aminotransferase", "U/L"),
    Analyte("1920-8", "Aspartate aminotransferase", "U/L"),
    Analyte("6768-6", "Alkaline phosphatase", "U/L"),
    Analyte("2324-2", "Gamma glutamyl transferase", "U/L"),
    Analyte("2157-6", "Creatine kinase", "U/L"),
    Analyte("1988-5", "C-reactive protein, mass", "mg/L"),
    Analyte("4548-4", "Haemoglobin A1c of haemoglobin, percent", "%"),
    Analyte("59261-8", "Haemoglobin A1c of haemoglobin, IFCC", "mmol/mol"),
    Analyte("3016-3", "Thyrotropin", "m[IU]/L"),
    Analyte("3024-7", "Thyroxine free, mass", "ng/dL", _THYROXINE),
    Analyte("14920-3", "Thyroxine free, amount", "pmol/L", _THYROXINE),
    Analyte("3051-0", "Triiodothyronine free, mass", "pg/mL", _TRIIODOTHYRONINE),
    Analyte("14928-6", "Triiodothyronine free, amount", "pmol/L", _TRIIODOTHYRONINE),
    Analyte("2143-6", "Cortisol, mass, serum or plasma", "ug/dL", _CORTISOL),
    Analyte("6690-2", "Leukocytes, blood", "10*9/L"),
    Analyte("789-8", "Erythrocytes, blood", "10*12/L"),
    Analyte("718-7", "Haemoglobin, mass, blood", "g/L"),
    Analyte("4544-3", "Haematocrit, blood", "%"),
    Analyte("787-2", "Mean corpuscular volume", "fL"),
    Analyte("785-6", "Mean corpuscular haemoglobin", "pg"),
    Analyte("786-4", "Mean corpuscular haemoglobin concentration", "g/L"),
    Analyte("777-3", "Platelets, blood", "10*9/L"),
    Analyte("751-8", "Neutrophils, blood", "10*9/L"),
    Analyte("731-0", "Lymphocytes, blood", "10*9/L"),
    Analyte("5902-2", "Prothrombin time", "s"),
    Analyte("6301-6", "International normalised ratio", "{INR}"),
    Analyte("14979-9", "Activated partial thromboplastin time", "s"),
    Analyte("3255-7", "Fibrinogen, mass, platelet poor plasma", "g/L"),
    Analyte("2744-1", "pH, arterial blood", "[pH]"),
    Analyte("2703-7", "Oxygen partial pressure, arterial blood", "mm[Hg]"),
    Analyte("2019-8", "Carbon dioxide partial pressure, arterial blood", "mm[Hg]"),
    Analyte("8480-6", "Systolic blood pressure", "mm[Hg]"),
    Analyte("8462-4", "Diastolic blood pressure", "mm[Hg]"),
    Analyte("8867-4", "Heart rate", "/min"),
    Analyte("8310-5", "Body temperature", "Cel"),
    Analyte("8302-2", "Body height", "cm"),
    Analyte("29463-7", "Body weight", "kg"),
)

ANALYTES: Final[Mapping[str, Analyte]] = MappingProxyType({one.loinc: one for one in _ALL})
"""By LOINC code."""
