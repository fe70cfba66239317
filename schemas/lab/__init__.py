"""What laboratories send: messages of instruments, and files of results."""

from __future__ import annotations

from typing import Final

ASTM: Final = "application/x-astm"
"""Content type of a message of LIS2-A2 records, H to L, each ended by CR."""

RESULT_FILE: Final = "application/x-result-file"
"""Content type of a whole file of results."""
