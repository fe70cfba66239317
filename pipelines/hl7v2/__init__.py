"""HL7 v2 as columns: ``parse`` reads messages into Arrow tables."""

from __future__ import annotations

from pipelines.hl7v2.library import Reading, parse

__all__ = ["Reading", "parse"]
