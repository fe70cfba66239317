"""The people of the synthetic city: made up, with numbers that check and belong to nobody known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random

from stdnum.cn import ric

from jobs.city.institutions import Institution
from jobs.city.truth import Value

FAMILY_NAMES = ("王", "李", "张", "刘", "陈", "杨", "赵", "黄", "葉", "館", "歐陽", "魚")
GIVEN_NAMES = (
    "伟",
    "芳",
    "娜",
    "敏",
    "静",
    "强",
    "瑋",
    "質",
    "觀",
    "錦华",
    "运來",
    "建国",
    "秀英",
    "一鸣",
    "運",
    "子涵",
)
"""Some have a GB 18030 form whose second byte is a delimiter of HL7: 瑋 質 觀 館 葉 魚 錦 運."""

DISTRICTS = (("520102", "南明区"), ("520103", "云岩区"), ("520111", "花溪区"), ("520112", "乌当区"))
_OLDEST = date(1936, 1, 1)
_DAYS = 32_000
_UNKNOWN = 7


@dataclass(frozen=True, slots=True)
class Person:
    """A synthetic resident.

    Attributes:
        number: within the city, from 0.
        family: family name.
        given: given name.
        gender: F or M (HL7 table 0001).
        born: date of birth.
        identity: identity number (GB 11643), with its check character (ISO 7064 MOD 11-2).
        district: where they live.
        phone: made up.
    """

    number: int
    family: str
    given: str
    gender: str
    born: date
    identity: str
    district: str
    phone: str

    @property
    def birth_date_known(self) -> bool:
        """Not of everybody: where it is not, hospitals send zeros."""
        return self.number % 60 != _UNKNOWN

    @property
    def account(self) -> str:
        """The number under which they are billed."""
        return f"A{self.number:06d}"

    @property
    def former_account(self) -> str:
        """The number under which they were billed before."""
        return f"B{self.number:06d}"

    @property
    def former_visit(self) -> str:
        """A number that a visit of theirs had before."""
        return f"U{self.number:06d}0"

    def record_number(self, institution: Institution) -> str:
        """The number an institution files them under."""
        return f"{institution.code[0]}{institution.code[-2:]}{self.number:06d}"

    def former_record_number(self, institution: Institution) -> str:
        """The number an institution filed them under before."""
        return f"{institution.code[0]}{institution.code[-2:]}T{self.number:06d}"


def person(rng: Random, number: int) -> Person:
    """Make up a resident."""
    born = _OLDEST + timedelta(days=rng.randrange(_DAYS))
    gender = rng.choice("FM")
    region, district = rng.choice(DISTRICTS)
    order = rng.randrange(0, 499) * 2 + (gender == "M")
    stem = f"{region}{born:%Y%m%d}{order:03d}"
    return Person(
        number,
        rng.choice(FAMILY_NAMES),
        rng.choice(GIVEN_NAMES),
        gender,
        born,
        stem + ric.calc_check_digit(f"{stem}-"),  # it leaves out the last character, where the check goes
        district,
        f"000{rng.randrange(10**8):08d}",
    )


@dataclass(frozen=True, slots=True)
class Doctor:
    """A synthetic member of staff.

    Attributes:
        code: as messages name them.
        family: family name.
        given: given name.
    """

    code: str
    family: str
    given: str

    @property
    def sent(self) -> str:
        """As XCN: id, family name, given name."""
        return f"{self.code}^{self.family}^{self.given}"

    def columns(self, name: str) -> dict[str, Value]:
        """The columns of a person who acts."""
        return {
            f"{name}_id": self.code,
            f"{name}_family_name": self.family,
            f"{name}_given_name": self.given,
        }


def doctor(rng: Random, number: int) -> Doctor:
    """Make up a member of staff."""
    return Doctor(f"D{number:03d}", rng.choice(FAMILY_NAMES), rng.choice(GIVEN_NAMES))


@dataclass(frozen=True, slots=True)
class Stay:
    """A visit as one message tells it.

    Attributes:
        visit: its number.
        kind: class of the visit (HL7 table 0004).
        ward, room, bed: where.
        doctor: who attends.
        admitted, discharged: local times.
        prior_ward: where the patient was before a transfer.
        alternate: another number of the visit.
    """

    visit: str
    kind: str
    ward: str
    room: int
    bed: int
    doctor: Doctor
    admitted: datetime
    discharged: datetime | None = None
    prior_ward: str | None = None
    alternate: str | None = None
