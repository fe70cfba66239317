"""Durations as people type them."""

from __future__ import annotations

import re

from schemas.errors import ConfigError

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*")


def seconds(text: str, setting: str) -> float:
    """Seconds of ``5s``, ``500ms``, ``2m``, ``1h`` or a bare number.

    Raises:
        ConfigError: the text is no duration; names the setting.
    """
    found = _DURATION.fullmatch(text)
    if found is None or found.group(2) not in _SECONDS:
        raise ConfigError(
            "CONFIG-DURATION", f"{setting} takes a duration such as 5s, 500ms or 2m", setting=setting
        )
    return float(found.group(1)) * _SECONDS[found.group(2)]
