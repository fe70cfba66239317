"""The institutions of the synthetic city, on four levels, and how each of them sends. All of it is made up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stdnum.cn import uscc

from schemas.source import Source


class Level(Enum):
    """Administrative level of an institution, and how busy it is beside the others."""

    CITY = ("city", 6)
    COUNTY = ("county", 3)
    TOWNSHIP = ("township", 2)
    VILLAGE = ("village", 1)

    @property
    def weight(self) -> int:
        """Share of the city's traffic."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Institution:
    """A sender.

    Attributes:
        code: what it writes into MSH-4.
        name: as people call it.
        level: where it stands.
        parent: code of the institution above it; empty at the top.
        registration: nine characters of its registration, from which the social credit code is made.
        charset: what its bytes are.
        declares: what it writes into MSH-18.
    """

    code: str
    name: str
    level: Level
    parent: str
    registration: str
    charset: str
    declares: str

    @property
    def source(self) -> str:
        """Name of its connection."""
        return self.code.lower()

    @property
    def credit_code(self) -> str:
        """Unified social credit code (GB 32100), with its check character."""
        stem = f"12520100{self.registration}"
        return stem + str(uscc.calc_check_digit(stem))

    def settings(self) -> Source:
        """What the lake must know of it: the charset where it does not say."""
        return Source(self.source, institution=self.code, charset=self.charset)


_UTF8 = ("utf-8", "UNICODE UTF-8")
_GB = ("gb18030", "GB 18030-2000")
_GB_SILENT = ("gb18030", "")
_UTF8_SILENT = ("utf-8", "")

INSTITUTIONS: tuple[Institution, ...] = (
    Institution("CITY01", "市第一演示医院", Level.CITY, "", "MB0000017", *_UTF8),
    Institution("CITY02", "市第二演示医院", Level.CITY, "", "MB0000025", *_GB),
    Institution("COUN01", "东县演示医院", Level.COUNTY, "CITY01", "MB0000033", *_GB_SILENT),
    Institution("COUN02", "西县演示医院", Level.COUNTY, "CITY01", "MB0000041", *_UTF8),
    Institution("COUN03", "南县演示中医院", Level.COUNTY, "CITY02", "MB0000050", *_UTF8_SILENT),
    Institution("TOWN01", "河口镇演示卫生院", Level.TOWNSHIP, "COUN01", "MB0000068", *_UTF8_SILENT),
    Institution("TOWN02", "青山镇演示卫生院", Level.TOWNSHIP, "COUN01", "MB0000076", *_GB),
    Institution("TOWN03", "石桥镇演示卫生院", Level.TOWNSHIP, "COUN02", "MB0000084", *_UTF8),
    Institution("VILL01", "上河村演示卫生室", Level.VILLAGE, "TOWN01", "MB0000092", *_UTF8),
    Institution("VILL02", "下河村演示卫生室", Level.VILLAGE, "TOWN01", "MB0000105", *_GB_SILENT),
    Institution("VILL03", "新田村演示卫生室", Level.VILLAGE, "TOWN02", "MB0000113", *_UTF8),
)
