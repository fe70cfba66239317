"""Which segment belongs to which (HL7 v2.5.1 chapters 3–11, abstract message syntax).

It is told without the syntax of each message: senders leave groups out, and put segments where no version of the
standard has them.

A message is read from its first segment to its last. A PID opens a patient, a PV1 a visit of that patient; what stands
before the first PID belongs to the first patient, what stands before a patient's first PV1 to that visit. An order
group begins with an ORC, or with a detail segment whose name the present group has already; it holds all that follows
until the next one or the next patient. Two kinds of messages have more than one way: in OUL^R22 to R24 the ORC stands
behind its OBR (an ORC right after an OBR without one, and not before another detail, joins it), and in RAS and RGV one
order may have many RXA or RXG. Where a patient's SPM comes before any order group (OUL^R22, OML^O33), orders belong to
the SPM before them and each SPM ends the group before it; elsewhere an SPM belongs to its order group. An NTE speaks of
what precedes it: of the patient behind PD1, of the visit behind PV2, of what is timed behind TQ1.
"""

from __future__ import annotations

DETAILS = ("OBR", "RXO", "RXE", "RXD", "RXG", "RXA", "RQD", "ODS")
"""Segments that say what is ordered, done or given; each name stands once in an order group."""

IN_ORDER_GROUP = frozenset(
    {"ORC", *DETAILS, "RXR", "RXC", "TQ1", "TQ2", "SPM", "CTI", "BLG", "IPC", "CTD", "TCD"}
)
"""Segments that are looked for in a row's order group."""

OF_DETAIL = frozenset({"RXR", "RXC", "TQ1"})
"""Of these, a detail segment has those behind it, before the next detail; where there are none, the order's first."""

GIVEN = ("RAS", "RGV")
"""MSH-9.1 of messages in which one order holds several details of the same name (HL7 v2.5.1 §4.13.9, §4.13.11)."""

EXTENDING = ("PD1", "PV2", "TQ1", "TQ2", "TCD", "PRT", "ARV")
"""Segments that add to the one before them; notes behind them are about that one (HL7 v2.5.1 §3.3.1, §4.4.6, §10.4)."""

ONCE_IN_MESSAGE = frozenset({"MSH", "EVN", "SCH", "TXA", "RF1", "MSA", "QRD"})
"""Segments of which the message's first is meant, wherever the row stands."""

BEFORE = frozenset({"MFE", "GOL", "PRB", "RGS", "IN1", "STF", "PTH", "MFI"})
"""Segments of which the nearest before the row is meant. Of all others the first after the row is, before the next
segment of the row's own name."""
