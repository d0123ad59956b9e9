"""The ranges that quantities of a hardware description may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from simulator.config import Bytes, Hertz, Picoseconds

# Upper bounds keep times within 64-bit picoseconds and the state within memory.
Count = Annotated[int, Field(gt=0, le=1 << 20, strict=True)]
Ways = Annotated[int, Field(gt=0, le=16, strict=True)]  # 16 way numbers of four bits fit the word that orders them
PositiveBytes = Annotated[Bytes, Field(gt=0, le=1 << 43)]
PositiveHertz = Annotated[Hertz, Field(ge=10**6, le=10**11)]
PositiveTime = Annotated[Picoseconds, Field(gt=0, le=10**12)]
NonNegativeTime = Annotated[Picoseconds, Field(ge=0, le=10**12)]


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("write words that can be printed")
    return text


Words = Annotated[str, AfterValidator(_printable)]  # they stand in every table
