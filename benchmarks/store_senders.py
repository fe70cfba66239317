"""Sends DICOM objects by some associations at once; takes little CPU, since but the beginning of each is new.

``python -m benchmarks.store_senders PORT ASSOCIATIONS OBJECTS BYTES PDU_LENGTH FIRST``

FIRST is the number of the first object: what was sent before is not stored again, and would be too quick.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from tests.tools.dicom_sender import RawSender, element, fragment, instance, store_command


def pixels(size: int, pdu_length: int) -> list[bytes]:
    """The fragments of an object after its first."""
    data = element(0x7FE00010, b"OW", b"\x01\x02" * (size // 2))
    step = pdu_length - 6
    starts = range(0, len(data), step)
    return [fragment(2 if start + step >= len(data) else 0, data[start : start + step]) for start in starts]


def main() -> None:
    """Send, then print what came of it as JSON."""
    port, associations, objects, size, pdu_length, first = map(int, sys.argv[1:7])
    rest = b"".join(pixels(size, pdu_length))
    stored = [0] * associations
    waits: list[float] = []
    begin = threading.Barrier(associations + 1)

    def send(place: int) -> None:
        with RawSender(port, called="ANY-SCP", calling="BENCH") as sender:
            begin.wait()
            for number in range(first + place * objects, first + (place + 1) * objects):
                head = fragment(3, store_command(number)) + fragment(0, instance(number, 0))
                sender.socket.sendall(head)
                sender.socket.sendall(rest)
                sent = time.perf_counter()
                stored[place] += sender.status() == 0
                waits.append(time.perf_counter() - sent)
            sender.release()

    threads = [threading.Thread(target=send, args=(place,)) for place in range(associations)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    waits.sort()
    print(
        json.dumps(
            {
                "megabytes": sum(stored) * size / 1e6 / seconds,
                "objects": sum(stored) / seconds,
                "not_stored": associations * objects - sum(stored),
                "median": waits[len(waits) // 2],
            }
        )
    )


if __name__ == "__main__":
    main()
