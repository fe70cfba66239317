"""Small synthetic messages for tests that are not about their content."""

from __future__ import annotations

from base64 import b64encode

FACILITY = "DEMO-CLINIC"


def adt(
    number: int, *, event: str = "A01", family: str = "测试", sent: str = "20260301080000", control: str = ""
) -> bytes:
    """An admission of synthetic patient ``number``."""
    control_id = control or f"A{number:06d}"
    return "\r".join(
        (
            f"MSH|^~\\&|HIS|{FACILITY}|LAKE|CITY|{sent}||ADT^{event}|{control_id}|P|2.5.1|||||CHN|UNICODE UTF-8",
            f"EVN|{event}|{sent}",
            f"PID|1||P{number:06d}^^^{FACILITY}^MR||{family}^{number:06d}||19800101|F",
            f"PV1|1|I|W{number % 7}^{number % 30}^1||||D1^医生||||||||||||V{number:06d}|||||||||||||||||||||||||{sent}",
            "",
        )
    ).encode()


def oru(
    number: int, *, results: int = 5, value: str = "", sent: str = "20260302093000", control: str = ""
) -> bytes:
    """A laboratory report of synthetic patient ``number`` with some results."""
    control_id = control or f"R{number:06d}"
    lines = [
        f"MSH|^~\\&|LIS|{FACILITY}|LAKE|CITY|{sent}||ORU^R01|{control_id}|P|2.5.1|||||CHN|UNICODE UTF-8",
        f"PID|1||P{number:06d}^^^{FACILITY}^MR||测试^{number:06d}||19800101|F",
        f"ORC|RE|O{number:06d}|F{number:06d}",
        f"OBR|1|O{number:06d}|F{number:06d}|58410-2^CBC^LN|||{sent}|||||||||||||||{sent}|||F",
    ]
    lines += [
        f"OBX|{n}|NM|718-7^Hemoglobin^LN|{n}|{value or 100 + (number + n) % 60}|g/L|115-150|N|||F|||{sent}"
        for n in range(1, results + 1)
    ]
    return "\r".join([*lines, ""]).encode()


def siu(number: int) -> bytes:
    """An appointment: a family that no typed table takes."""
    return (
        f"MSH|^~\\&|SCH|{FACILITY}|LAKE|CITY|20260303100000||SIU^S12|S{number:06d}|P|2.5.1\r"
        f"SCH|{number}|||||ROUTINE\rPID|1||P{number:06d}^^^{FACILITY}^MR\rAIS|1||CONSULT\r"
    ).encode()


def mdm(number: int, content: bytes) -> bytes:
    """A document of synthetic patient ``number``, embedded."""
    return (
        f"MSH|^~\\&|EMR|{FACILITY}|LAKE|CITY|20260304100000||MDM^T02|M{number:06d}|P|2.5.1\r"
        f"EVN|T02|20260304100000\rPID|1||P{number:06d}^^^{FACILITY}^MR\rTXA|1|DS|PDF|||||||||D{number:06d}\r"
        f"OBX|1|ED|18842-5^Discharge summary^LN||^application^pdf^Base64^{b64encode(content).decode()}||||||F\r"
    ).encode()


def mixed(count: int, first: int = 0) -> list[bytes]:
    """Admissions, reports and appointments, and among them resends, a reused control id and what is no message.

    Of each ten: 8 accepted ones of their own, the ninth is a resend of the one before with a new MSH-7 of the
    same day, the tenth by turns: a reused control id, something unreadable, a training message.
    """
    messages: list[bytes] = []
    for place in range(count):
        number, kind = first + place, place % 10
        if kind == 8 and messages:
            messages.append(messages[-1].replace(b"093000", b"093001", 1).replace(b"080000", b"080001", 1))
        elif kind == 9:
            messages.append(_odd(number))
        elif kind % 4 == 3:
            messages.append(siu(number))
        elif kind % 2:
            messages.append(oru(number))
        else:
            messages.append(adt(number))
    return messages


def _odd(number: int) -> bytes:
    match (number // 10) % 3:
        case 0:
            return oru(number - 4, value="999", control=f"R{number - 4:06d}")
        case 1:
            return f"no message at all {number}".encode()
        case _:
            return adt(number).replace(b"|P|2.5.1", b"|T|2.5.1")
