"""An evaluation as files: JSON, CSV, Markdown and one HTML page, all from the same sections."""

import csv
import dataclasses
import html
import io

from seatbelt_tf import figures, runs
from trainers.evaluation import page

CHECKED = ("check", "found", "verdict")


@dataclasses.dataclass(frozen=True)
class Row:
    """One number: its 95 % interval, where there is one, its unit and what it means."""

    name: str
    mean: float
    lower: float | None = None
    upper: float | None = None
    unit: str = ""
    meaning: str = ""

    def __str__(self):
        interval = "" if self.lower is None else f" [{number(self.lower)}, {number(self.upper)}]"
        return f"{number(self.mean)}{interval}"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A `Figure` with its file's name, what it shows, and what is written under it."""

    name: str
    figure: object
    alt: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page; `text` is a list of paragraphs, `level` that of its heading."""

    title: str
    text: list
    rows: list = ()
    diagnoses: list = ()
    pictures: list = ()
    level: int = 2


def write(directory, title, headline, facts, sections, provenance):
    """Writes report.json, report.csv, report.md, report.html and the figures.

    Args:
        directory: `pathlib.Path`.
        title: of the page.
        headline: list of sentences that come first.
        facts: dict of text to text: what the model is.
        sections: list of `Section`.
        provenance: dict of text to text: how it was made.

    Returns:
        The names of the files.
    """
    record = {
        "title": title,
        "headline": headline,
        "model": facts,
        "sections": [_as_json(section) for section in sections],
        "provenance": provenance,
    }
    runs.write_json(directory / "report.json", record)
    pictures = [picture for section in sections for picture in section.pictures]
    for picture in pictures:
        figures.save(picture.figure, directory / f"{picture.name}.png")
    texts = {
        "report.csv": _csv(sections),
        "report.md": _markdown(record, sections),
        "report.html": _html(directory, record, sections),
    }
    for name, text in texts.items():
        runs.write_text(directory / name, text)
    return ["report.json", *texts, *(f"{picture.name}.png" for picture in pictures)]


def number(value):
    """Four significant digits, or whole from a thousand; a true minus sign."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def _as_json(section):
    checks = [diagnosis.as_json() for diagnosis in section.diagnoses]
    rows = [dataclasses.asdict(row) for row in section.rows]
    return {"title": section.title, "rows": rows, "diagnostics": checks}


def _csv(sections):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["section", "name", "mean", "lower", "upper", "unit"])
    for section in sections:
        for row in section.rows:
            bounds = ["" if bound is None else bound for bound in (row.lower, row.upper)]
            writer.writerow([section.title, row.name, row.mean, *bounds, row.unit])
    return text.getvalue()


def _markdown(record, sections):
    # Markdown passes HTML on.
    lines = [f"# {html.escape(record['title'])}", "", *(f"- {each}" for each in record["headline"])]
    lines += _markdown_table("The model", ("setting", "value"), record["model"].items())
    for section in sections:
        if section.rows:
            rows = [(row.name, row, row.unit) for row in section.rows]
            lines += _markdown_table(section.title, ("", "value", "unit"), rows)
        if section.diagnoses:
            rows = [(each.name, *_verdict(each)) for each in section.diagnoses]
            lines += _markdown_table(f"{section.title}: checks", CHECKED, rows)
    made = record["provenance"].items()
    lines += _markdown_table("How it was made", ("what", "value"), made)
    return "\n".join(lines) + "\n"


def _markdown_table(title, columns, rows):
    """The lines of a heading and a table."""
    cells = [[html.escape(str(cell)).replace("|", "\\|") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return ["", f"## {title}", "", *(f"| {' | '.join(line)} |" for line in lines)]


def _html(directory, record, sections):
    pieces = [
        page.bullets(record["headline"]),
        page.heading("The model"),
        page.table("Configuration", ("setting", "value"), record["model"].items()),
    ]
    for section in sections:
        pieces.append(page.heading(section.title, section.level))
        pieces += [page.paragraph(text) for text in section.text]
        if section.rows:
            rows = [
                (page.noted(row.name, row.meaning), f"{row} {row.unit}".strip())
                for row in section.rows
            ]
            has_interval = any(row.lower is not None for row in section.rows)
            caption = "Measured, with 95 % intervals" if has_interval else "Measured"
            pieces.append(page.table(caption, ("what", "value"), rows))
        if section.diagnoses:
            pieces.append(_checks(section))
        pieces += [
            page.figure(
                (directory / f"{picture.name}.png").read_bytes(), picture.alt, picture.caption
            )
            for picture in section.pictures
        ]
    pieces += [
        page.heading("How it was made"),
        page.table("Command, versions and seeds", ("what", "value"), record["provenance"].items()),
    ]
    return page.document(record["title"], *pieces)


def _checks(section):
    rows = []
    for check in section.diagnoses:
        found, verdict = _verdict(check)
        name = page.noted(check.name, f"if it fires: {check.meaning}")
        rows.append((name, found, page.alarm(verdict) if check.fired else verdict))
    return page.table("Checks: can this attack be trusted?", CHECKED, rows)


def _verdict(check):
    """What a `Diagnosis` found beside its limit, and what follows."""
    found = f"{number(check.value)} (limit {number(check.limit)})"
    return found, "FIRED" if check.fired else "ok"
