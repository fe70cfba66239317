"""How laboratories write units, and the UCUM codes that they mean; everything else is read by a library."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LONGEST_UNIT: Final = 64
"""Characters; a longer text is no unit."""

_SPELLINGS: Final = {
    # counts
    "/[HPF]": "个/HP 个/HPF /HP /HPF HP HPF 个/高倍视野 个/高倍 /高倍视野 cells/HPF",
    "/[LPF]": "个/LP 个/LPF /LP /LPF LP LPF 个/低倍视野 个/低倍 /低倍视野 cells/LPF",
    "/uL": "个/uL 个/微升 cells/uL cell/uL /微升",
    "/mL": "个/mL cells/mL",
    "/L": "个/L 个/升",
    "10*3/uL": "K/uL K/mm3 thou/uL",
    "10*6/uL": "M/uL M/mm3",
    "{copies}/mL": "copies/mL copy/mL cp/mL 拷贝/mL 拷贝/毫升",
    "{CFU}/mL": "CFU/mL",
    "10*9/L": "10*9/升",
    "10*12/L": "10*12/升",
    # amount of substance
    "mmol/L": "毫摩尔/升 毫摩尔每升 毫摩/升 MMOL/L",
    "umol/L": "微摩尔/升 微摩尔每升 微摩/升 UMOL/L",
    "nmol/L": "纳摩尔/升 纳摩尔每升 NMOL/L",
    "pmol/L": "皮摩尔/升 皮摩尔每升 PMOL/L",
    "meq/L": "mEq/L MEQ/L",
    "mosm/kg": "mOsm/kg mOsm/kgH2O mOsm/(kg.H2O) mOsm/kg.H2O",
    "mosm/L": "mOsm/L",
    "mmol/(24.h)": "mmol/24h mmol/24hr mmol/24小时",
    "umol/(24.h)": "umol/24h umol/24hr",
    # mass
    "g/L": "克/升 克每升",
    "mg/L": "毫克/升 毫克每升 MG/L",
    "ug/L": "微克/升 微克每升 UG/L mcg/L",
    "ng/L": "纳克/升",
    "g/dL": "g% 克/分升 gm/dL GM/DL",
    "mg/dL": "mg% 毫克/分升 MG/DL",
    "ug/dL": "微克/分升 mcg/dL UG/DL",
    "ng/mL": "纳克/毫升 NG/ML",
    "pg/mL": "皮克/毫升 PG/ML",
    "ug/mL": "微克/毫升 mcg/mL UG/ML",
    "mg/(24.h)": "mg/24h mg/24hr mg/24小时",
    "g/(24.h)": "g/24h g/24hr g/24小时",
    "ug/mL{FEU}": "ug/mLFEU ugFEU/mL",
    "mg/L{FEU}": "mg/LFEU mgFEU/L",
    # activity, and units that a procedure defines
    "U/L": "单位/升 U/升",
    "[IU]/L": "IU/L 国际单位/升",
    "[IU]/mL": "IU/mL 国际单位/毫升",
    "m[IU]/L": "mIU/L 毫国际单位/升",
    "m[IU]/mL": "mIU/mL",
    "u[IU]/mL": "uIU/mL",
    "u[IU]/L": "uIU/L",
    "k[IU]/L": "kIU/L",
    "k[IU]/mL": "kIU/mL",
    "[arb'U]/mL": "AU/mL",
    # rates
    "mL/min/{1.73_m2}": "mL/min/1.73m2 mL/min/1.73m*2 mL/min/1.73m^2 mL/(min.1.73m2) mL/min.1.73m2",
    "mm/h": "mm/hr mm/1h 毫米/小时 毫米/时",
    "/min": "次/分 次/分钟 次/min bpm beats/min /分",
    # pressure, temperature, size, time
    "mm[Hg]": "mmHg 毫米汞柱",
    "cm[H2O]": "cmH2O 厘米水柱",
    "Cel": "°C 摄氏度",
    "[degF]": "°F",
    "cm": "厘米",
    "kg": "公斤 千克 kgs",
    "g": "克",
    "mL": "毫升",
    "L": "升",
    "s": "秒 秒钟 sec secs second seconds",
    "min": "分钟",
    "h": "小时 hr hrs",
    "d": "天 日 days",
    "a": "岁 年 yr yrs",
    "fL": "飞升 FL",
    "pg": "皮克",
    # without a dimension
    "[pH]": "pH",
    "[ppth]": "‰",
    "%": "百分比",
    "{ratio}": "ratio 比值",
    "{INR}": "INR",
    "{s_co_ratio}": "S/CO S/C.O. S/C.O",
    "{cutoff_index}": "COI",
}
"""UCUM code → how it is written, as ``plain`` leaves it: half-width, ``u`` for micro, no blanks, ``10*9``."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {written.casefold(): code for code, all_of_it in _SPELLINGS.items() for written in all_of_it.split()}
)
"""How a unit is written, in lower case → its UCUM code. No other code of UCUM is meant by any of these in a laboratory
(``ph`` would be phot, ``K/uL`` kelvin per microlitre)."""

AMBIGUOUS: Final = frozenset({"G/L", "T/L", "M/L"})
"""Grams per litre in capitals, or giga (tera, mega) per litre: nobody can tell, so they are not read."""
