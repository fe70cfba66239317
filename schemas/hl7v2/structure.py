"""Which segment belongs to which (HL7 v2.5.1 chapters 3–11, abstract message syntax).

It is told without the syntax of each message: senders leave groups out, and put segments where no version of the
standard has them.

A message is read from its first segment to its last. A PID opens a patient, a PV1 a visit of that patient; what stands
before the first PID belongs to the first patient, what stands before a patient's first PV1 to that visit. An order
group begins with an ORC, or with a detail segment whose name the present group has already; it holds all that follows
until the next one or the next patient. An ORC right behind an OBR that has none (OUL, §7.3.7) joins that OBR's group,
unless a detail follows the ORC at once. Where a patient's SPM comes before any order group (OUL^R22, OML^O33), orders
belong to the SPM before them and each SPM ends the group before it; elsewhere an SPM belongs to its order group.
"""

from __future__ import annotations

DETAILS = ("OBR", "RXO", "RXE", "RXD", "RXG", "RXA", "RQD", "ODS")
"""Segments that say what is ordered, done or given; each name stands once in an order group."""

IN_ORDER_GROUP = frozenset(
    {"ORC", *DETAILS, "RXR", "RXC", "TQ1", "TQ2", "SPM", "CTI", "BLG", "IPC", "CTD", "TCD"}
)
"""Segments that are looked for in a row's order group."""

ONCE_IN_MESSAGE = frozenset({"MSH", "EVN", "SCH", "TXA", "RF1", "MSA", "QRD"})
"""Segments of which the message's first is meant, wherever the row stands."""

BEFORE = frozenset({"MFE", "GOL", "PRB", "RGS", "IN1", "STF", "PTH", "MFI"})
"""Segments of which the nearest before the row is meant. Of all others the first after the row is, before the next
segment of the row's own name."""
