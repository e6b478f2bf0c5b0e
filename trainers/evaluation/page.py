"""One HTML page that needs nothing but itself: no network, no script, readable on paper.

Every function returns a piece of HTML. Text is escaped here and nowhere else, so that a run from a
stranger cannot put markup into a page about it.
"""

import base64
import html

# The page may load nothing, wherever it is opened.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { font-size: 1.3rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin-top: 1.8rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; min-width: 8rem; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid #ddd; }
th { font-weight: 600; }
td { font-variant-numeric: tabular-nums; }
small { color: #555; display: block; font-weight: 400; }
strong.fired { color: #a30000; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
ul { padding-left: 1.2rem; }
code { font-size: .85em; }
@media (max-width: 34rem) { thead { display: none; } th, td { display: block; border: 0; }
  td { padding: 0; } tr { display: block; padding: .3rem 0; border-bottom: 1px solid #ddd; }
  figure { overflow-x: auto; } figure img { max-width: none; width: 36rem; } }
@media print { body { max-width: none; font-size: 11pt; padding: 0; }
  figure, tr { break-inside: avoid; } h2, h3, caption { break-after: avoid; } }
"""


def document(title, *pieces):
    """The whole page.

    Args:
        title: text.
        pieces: HTML of the other functions.
    """
    title = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        + "\n".join(pieces)
        + "\n</body>\n</html>\n"
    )


def heading(text, level=2):
    """A heading of a level from 2."""
    return f"<h{level}>{html.escape(text)}</h{level}>"


def paragraph(text):
    """A paragraph of text."""
    return f"<p>{html.escape(text)}</p>"


def bullets(texts):
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"


def table(caption, headings, rows):
    """A table whose first column heads the rows.

    Args:
        caption: text above it.
        headings: a text a column.
        rows: a tuple of cells a row: text, or what `noted` or `alarm` returned.
    """
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in headings)
    body = "".join(
        f'<tr><th scope="row">{_inner(first)}</th>'
        + "".join(f"<td>{_inner(cell)}</td>" for cell in others)
        + "</tr>\n"
        for first, *others in rows
    )
    return (
        f"<table>\n<caption>{html.escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>"
    )


class _Markup(str):
    """HTML that was escaped already."""


def noted(text, note):
    """A cell's text with a smaller explanation under it."""
    return _Markup(f"{html.escape(text)}<small>{html.escape(note)}</small>")


def alarm(text):
    """A cell's text that must not be overlooked."""
    return _Markup(f'<strong class="fired">{html.escape(text)}</strong>')


def figure(png, alt, caption):
    """An embedded image.

    Args:
        png: bytes of a PNG file.
        alt: what it shows, for who does not see it.
        caption: text under it.
    """
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _inner(cell):
    return cell if isinstance(cell, _Markup) else html.escape(cell)
