"""Exit codes of processes beside those that errors carry (sysexits.h)."""

from __future__ import annotations

DEFECT = 70
"""EX_SOFTWARE: something failed that no coded error names; worth a few tries."""
