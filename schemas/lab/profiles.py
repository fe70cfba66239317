"""What instruments bend of LIS2-A2: where they put codes, bar codes, racks and controls. A profile is a literal.

A *place* is a record and field, counted as the standard does (the record's letter is field 1), with a component where
one is meant: ``R-3.4``. Of several places the first that says something counts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

Places = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """How an instrument fills its records.

    Attributes:
        doc: one sentence.
        test_code: code of the test, within R.
        test_name: its name, within R.
        test_system: what kind of code stands in component 1 of R-3 (its type); a code from elsewhere is local. Empty:
            that one is too.
        sub_id: what tells several results of a test apart (a dose, its interpretation, the counts that it was reckoned
            from), within R; without it they are lines of one result.
        value: the result, within R.
        flags: flags beside those of R-7, within R.
        dilution: dilution, within R.
        specimen_id: bar code, within O.
        rack: rack, within O.
        rack_position: position in it, within O.
        patient_id: the patient's number, within P.
        control_material: name of a control, within O.
        control_lot: its lot, within O.
        control_level: its level, within O.
        control_prefixes: beginnings of bar codes that only controls have, where O-12 does not say Q.
        example: records of a message, as the instrument would send them.
    """

    doc: str
    test_code: Places = ("R-3.4", "R-3.1")
    test_name: Places = ("R-3.2",)
    test_system: str = "R-3.3"
    sub_id: Places = ()
    value: Places = ("R-4",)
    flags: Places = ()
    dilution: Places = ()
    specimen_id: Places = ("O-3.1", "O-4.1")
    rack: Places = ()
    rack_position: Places = ()
    patient_id: Places = ("P-3.1", "P-4.1", "P-5.1")
    control_material: Places = ("O-3.1",)
    control_lot: Places = ("O-3.2",)
    control_level: Places = ("O-3.3",)
    control_prefixes: tuple[str, ...] = ()
    example: tuple[str, ...] = ()


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "": Profile("As LIS2-A2 has it."),
        "chemistry": Profile(
            "Dilution behind the test's code; rack and position behind the instrument's own number of the specimen.",
            dilution=("R-3.5",),
            rack=("O-4.2",),
            rack_position=("O-4.3",),
            example=(
                r"H|\^&|||CHEM^2.1|||||||P|LIS2-A2|20260301081500",
                "P|1||T0017||王^芳||19700102|F",
                "O|1|B000017|77^0012^3|^^^GLU^1\\^^^ALT^1|R||20260301073000||||N||||SER",
                "R|1|^^^GLU^1|5.1|mmol/L|3.9 to 6.1|N||F||op1||20260301081200|CHEM-1",
                "R|2|^^^ALT^10|412|U/L|0 to 40|HH||F||op1||20260301081210|CHEM-1",
                "C|1|I|diluted and measured again|G",
                "P|2",
                "O|1|QC1^L2209^2|78^0012^4|^^^GLU^1|R||||||Q",
                "R|1|^^^GLU^1|10.2|mmol/L|9.6 to 10.8|N||F||op1||20260301081230|CHEM-1",
                "L|1|N",
            ),
        ),
        "haematology": Profile(
            "Test's code in component 5; rack, position and the bar code, padded with blanks, in O-4.",
            test_code=("R-3.5", "R-3.4"),
            specimen_id=("O-4.3", "O-3.1"),
            rack=("O-4.1",),
            rack_position=("O-4.2",),
            control_material=("O-4.3",),
            control_lot=("O-4.5",),
            control_level=("O-4.6",),
            control_prefixes=("QC-",),
            example=(
                r"H|\^&|||HEMA^00-21^11001||||||||E1394-97",
                "P|1|||T0018|^Li^Na",
                "O|1||6^1^        B000018^B|^^^^WBC\\^^^^PLT|||||||N||||||||||||||F",
                "R|1|^^^^WBC^26|6.34|10*3/uL||N||F||||20260301091500",
                "R|2|^^^^PLT^26|58|10*3/uL||L||F||||20260301091500",
                "C|1|I|PLT Clumps?|I",
                "P|2",
                "O|1||6^2^QC-H2^C^L77^H|^^^^WBC",
                "R|1|^^^^WBC^26|17.9|10*3/uL||N||F||||20260301091700",
                "L|1|N",
            ),
        ),
        "immunoassay-aspects": Profile(
            "Number and name of the test in R-3.4 and R-3.5, dilution in R-3.6; a result, its interpretation and the"
            " counts are R records of their own, told apart by R-3.11.",
            test_name=("R-3.5",),
            sub_id=("R-3.11",),
            dilution=("R-3.6",),
            example=(
                r"H|\^&|||IMMUNO2^8.10^SN1^H1P1O1R1C1Q1L1|||||||P|1|20260301103245",
                "P|1||||^^|||U",
                "O|1|B000020||^^^16^TSH^UNDILUTED^P|R||||||||||||||||||||F",
                "R|1|^^^16^TSH^UNDILUTED^P^LOT7^0788^^F|0.10|uIU/mL||<||F||op1^op1||20260301102511|E2",
                "R|2|^^^16^TSH^UNDILUTED^P^LOT7^0788^^I|Low|||<||F||op1^op1||20260301102511|E2",
                "R|3|^^^16^TSH^UNDILUTED^P^LOT7^0788^^P|233123|RLU||<||F||op1^op1||20260301102511|E2",
                "O|2|PC-TSH||^^^16^TSH^UNDILUTED^C|R||||||Q||||||||||||||F",
                "R|1|^^^16^TSH^UNDILUTED^C^LOT7^0788^^F|1.52|uIU/mL||||F||op1^op1||20260301102811|E2",
                "L|1",
            ),
        ),
        "number-and-name": Profile(
            "The test's number and name in R-3.1 and R-3.2, with replicate and kind of result behind.",
            test_code=("R-3.1",),
            test_system="",
            sub_id=("R-3.4",),
            example=(
                r"H|\^&|||CHEM3^^|||||||PR|1394-97|20260301113405",
                "P|1||T0021||Li^Na||19600315^45^Y|M",
                r"O|1|B000021^1^1|21|7^GLU^2^1\8^ALT^2^1|R|20260301092233|20260301092233||||||||SER",
                "R|1|7^GLU^1^F|14.5|mmol/L|3.5^5.5|H||F||op1|20260301112233|20260301112733|CHEM3",
                "R|2|8^ALT^1^F|24.5|U/L|0^40|N||F||op1|20260301112233|20260301112740|CHEM3",
                "P|2",
                "O|1|QC3^L11^1|22|7^GLU^2^1|R||||||Q",
                "R|1|7^GLU^1^F|5.2|mmol/L||||F||op1|20260301112233|20260301112750|CHEM3",
                "L|1|N",
            ),
        ),
        "immunoassay": Profile(
            "R-4 has an interpretation and then the value; bar code, rack and position in O-3; dilution in R-3.5.",
            test_code=("R-3.4",),
            value=("R-4.2", "R-4.1"),
            flags=("R-4.1",),
            dilution=("R-3.5",),
            rack=("O-3.2",),
            rack_position=("O-3.3",),
            control_lot=("O-3.5",),
            control_level=("O-3.6",),
            example=(
                r"H|\^&|M00042||IMMUNO^1.0||||||RES|P|1|20260301101500",
                "P|1",
                "O|1|B000019^0021^4^S1|19|^^^HBSAG^^|R||||||N||||1||||||||||F",
                "R|1|^^^HBSAG^1|-1^0.243|COI||||V||op2^op7|20260301094000|20260301095800|E1",
                "O|2|PC-TSH^0021^5^S1^L31^1|20|^^^TSH^^|R||||||Q",
                "R|1|^^^TSH^1|^1.52|uIU/mL||||F||op2|20260301094000|20260301095900|E1",
                "L|1|N",
            ),
        ),
    }
)
"""The profiles that ``instrument_profile`` of a source can name; without one, the standard."""

RECORD_OF: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("test_code", "test_name", "test_system", "sub_id", "value", "flags", "dilution"), "R"
        ),
        **dict.fromkeys(
            ("specimen_id", "rack", "rack_position", "control_material", "control_lot", "control_level"), "O"
        ),
        "patient_id": "P",
    }
)
"""What of a profile is places, and the record that they are in."""

PREFIXES = "control_prefixes"
_PLACE = re.compile(r"([A-Z])-(?:[2-9]|[1-9][0-9])(?:\.[1-9][0-9]?)?")

Bends = tuple[tuple[str, Places], ...]
"""What a source bends of its profile: names of ``RECORD_OF``, or ``PREFIXES``, each with what it is."""


def problem_of_bend(name: str, said: Places) -> str | None:
    """What is wrong with a part of a profile that settings give; None where nothing is."""
    if name == PREFIXES:
        return None if all(said) else "a beginning of bar codes is not empty"
    record = RECORD_OF.get(name)
    if record is None:
        return f"there is no such part of a profile; there are {', '.join(sorted([*RECORD_OF, PREFIXES]))}"
    if name == "test_system" and len(said) > 1:
        return "it stands in one place"
    for place in said:
        found = _PLACE.fullmatch(place)
        if found is None or found[1] != record:
            return f"a place is written {record}-3 or {record}-3.4: the record, the field, and its component"
    return None


@functools.lru_cache(maxsize=256)
def bent(name: str, bends: Bends) -> Profile:
    """A profile, the standard's where there is none of that name, with what a source says otherwise."""
    profile = PROFILES.get(name, PROFILES[""])
    made = {what: "".join(said) if what == "test_system" else said for what, said in bends}
    return replace(profile, **made)  # type: ignore[arg-type]  # checked by problem_of_bend
