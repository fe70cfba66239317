"""Messages that grow in one respect: what is to cost its size and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

HEADER = "MSH|^~\\&|LIS|CLINIC|||20260301080000||ORU^R01|C1|P|2.5.1\rPID|1||P1\rOBR|1||F1|A\r"


def _message(*lines: str, header: str = HEADER) -> bytes:
    return (header + "\r".join(lines)).encode()


GROWING: Mapping[str, tuple[int, Callable[[int], bytes]]] = MappingProxyType(
    {
        "bytes of OBX-5": (20_000_000, lambda n: _message("OBX|1|TX|A||" + "x" * n)),
        "bytes of OBX-5, embedded": (20_000_000, lambda n: _message("OBX|1|ED|A||^a^b^Base64^" + "A" * n)),
        "segments": (100_000, lambda n: _message(*["ZZZ|1"] * n)),
        "patients": (100_000, lambda n: _message(*["PID|1||P1"] * n)),
        "visits": (100_000, lambda n: _message(*["PV1|1|I"] * n)),
        "orders": (100_000, lambda n: _message(*["OBR|1||F1|A", "ORC|RE|1", "TQ1|1"] * (n // 3))),
        "specimens": (100_000, lambda n: _message(*["SPM|1|S"] * n)),
        "given of one order": (
            100_000,
            lambda n: _message("ORC|RE|1", *["RXA|0|1"] * n, header=HEADER.replace("ORU^R01", "RAS^O17")),
        ),
        "repetitions": (100_000, lambda n: _message("OBX|1|NM|A||" + "~".join(["1x"] * n))),
        "identifiers": (100_000, lambda n: _message("PID|1||" + "~".join(["P1^^^A"] * n))),
        "components": (100_000, lambda n: _message("OBX|1|CE|A||" + "^".join(["1"] * n))),
        "subcomponents": (100_000, lambda n: _message("OBX|1|CE|A||" + "&".join(["1"] * n))),
        "fields": (100_000, lambda n: _message("OBX|1|ST|A||b" + "|" * n)),
        "backslashes": (10_000, lambda n: _message("OBX|1|ST|A||" + "\\" * n)),
        "escapes": (100_000, lambda n: _message("OBX|1|ST|A||" + "\\T\\x" * n)),
        "escapes of bytes": (100_000, lambda n: _message("OBX|1|ST|A||" + "\\X41\\" * n)),
        "notes": (100_000, lambda n: _message("OBX|1|ST|A||b", *["NTE|1||n"] * n)),
        "notes behind what they pass over": (100_000, lambda n: _message(*["TQ1|1"] * n, "NTE|1||n")),
        "results of one key": (50_000, lambda n: _message(*["OBX|1|NM|A||1"] * n)),
        "results that are no numbers": (50_000, lambda n: _message(*["OBX|1|NM|A||x~y"] * n)),
        "continuations": (100_000, lambda n: _message("ZZZ|1", *["ADD|x"] * n)),
        "line ends": (1_000_000, lambda n: _message("\r" * n)),
    }
)
"""What grows → how many there are, and the message with so many."""
