"""One check of a validation report: a number measured and predicted, with its tolerance."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def check(
    quantity: str,
    measured: float | None,
    predicted: float | None,
    unit: str,
    error: float | None,
    tolerance: float | None,
) -> Json:
    """Return one check; one that has a tolerance and no error (no knee where one was measured) has failed."""
    passed = None if tolerance is None else error is not None and abs(error) <= tolerance
    return {
        "quantity": quantity,
        "measured": measured,
        "predicted": predicted,
        "unit": unit,
        "error": error,
        "tolerance": tolerance,
        "passed": passed,
    }
