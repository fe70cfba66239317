"""The city's senders as settings: a file of ``[[sources]]`` that listener, loader and lake share."""

from __future__ import annotations

from jobs.city.institutions import INSTITUTIONS


def source_settings() -> str:
    """TOML with one ``[[sources]]`` for each institution."""
    parts = ["# The synthetic city's institutions, told apart by MSH-4.\n"]
    parts += [
        f'[[sources]]\nname = "{one.source}"\ninstitution = "{one.code}"\nfacility = "{one.code}"\n'
        f'charset = "{one.charset}"\n'
        for one in INSTITUTIONS
    ]
    return "\n".join(parts)
