"""Numbers, intervals and rows as tables have them."""

import math


def words(mean, lower, upper, digits=3):
    """An interval as tables have it."""
    if not math.isfinite(mean):
        return "—"
    return f"{number(mean, digits)} [{number(lower, digits)}, {number(upper, digits)}]"


def number(value, digits=3):
    """A number with so many significant digits, thousands separated."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}" if abs(value) >= 1e-4 else f"{value:.2g}"


def markdown(rows):
    """Rows as a Markdown table."""
    cells = [list(rows[0]), *(row.values() for row in rows)]
    head, *body = (
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells
    )
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"
