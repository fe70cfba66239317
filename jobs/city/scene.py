"""What a family of messages is made of: who sends it, about whom, and what chance has a hand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from jobs.city.draft import Draft, Header
from jobs.city.people import Doctor, Person, Stay


@dataclass(frozen=True)
class Scene:
    """The plan of one message.

    Attributes:
        rng: of the city.
        header: its MSH.
        person: whom it is about.
        other: another resident: a relative, or whose record it was.
        doctors: the city's.
        number: no other message of the city has it.
    """

    rng: Random
    header: Header
    person: Person
    other: Person
    doctors: Sequence[Doctor]
    number: int

    @property
    def event(self) -> str:
        """MSH-9.2."""
        return self.header.event

    @property
    def sent(self) -> datetime:
        """MSH-7, local."""
        return self.header.sent

    def doctor(self) -> Doctor:
        return self.rng.choice(self.doctors)

    def before(self, least: int, most: int) -> datetime:
        """Some minutes before the message."""
        return self.sent - timedelta(minutes=self.rng.randrange(least, most))

    def stay(self, who: Person | None = None, kind: str = "I") -> Stay:
        """A visit of the person, or of another."""
        rng = self.rng
        return Stay(
            visit=f"V{(who or self.person).number:06d}{rng.randrange(10)}",
            kind=kind,
            ward=f"W{rng.randrange(1, 20):02d}",
            room=rng.randrange(1, 30),
            bed=rng.randrange(1, 5),
            doctor=self.doctor(),
            admitted=self.before(60, 12_000),
        )

    def draft(self, *, evented: bool = False, staying: bool = True) -> Draft:
        """A message about the person, and mostly about a visit of theirs."""
        return Draft(self.header, self.person, self.stay() if staying else None, evented=evented)
