"""MODEL_CARD.md: what a served model is, where it comes from and what it must not be used for.

Markdown passes HTML on, and a run may come from a stranger: all that it says is escaped here.
"""

import html
import re

from export import image_bytes
from seatbelt_tf import checks, datasets, runs
from trainers import program

_LIMITS = """\
- Trained on one dataset; scores and embeddings of other images mean nothing.
- `score` is one draw of a lower bound, in nats an image for pixels in [-1, 1]; average over seeds.
- Robustness was measured with the attacks listed here, or not at all; a stronger attack can only
  find less of it. Don't use the model where fooling it does harm.
"""


def text(run, recipe):
    """The card of a run's model, in Markdown.

    Args:
        run: a trained `runs.Run`.
        recipe: its preprocessing, see `image_bytes.recipe_of`.
    """
    config = run.config()
    sections = {
        "Data": _data(config["data"]),
        "Preprocessing of encoded images": "".join(
            f"{place}. {step}\n" for place, step in enumerate(image_bytes.describe(recipe), 1)
        ),
        "Model": _table(config["model"]),
        "Training": _table(config.get("training", {}))
        + _commanded(config.get("command"))
        + _table(config.get("versions", {})),
        "Test scores": _scores(run),
        "Attacks": _attacks(run),
        "Limits": _LIMITS,
    }
    body = "\n".join(f"## {title}\n\n{content}" for title, content in sections.items())
    title = f"# Model card: {_line(run.path.resolve().name)}"
    return f"{title}\n\nmodel.keras: sha256 {run.model_digest()}…\n\n{body}"


def _data(data):
    facts = {"dataset": data["name"]}
    try:
        info = datasets.info(
            data["name"], data.get("data_dir"), max_unreadable=data.get("max_unreadable", 0)
        )
    except ValueError:
        # The user's own images: known by their name only.
        pass
    else:
        facts |= {"source": info.source, "licence": info.licence}
        # Those that are here now may be others than the model saw.
        if info.fingerprint == data.get("fingerprint"):
            facts["images"] = dict(info.splits)
    return _table(facts)


def _commanded(command):
    if not command:
        return ""
    text = " ".join(program.told(command).split())
    # A span of code ends at as many backticks as it began with.
    ticks = "`" * (1 + max(map(len, re.findall("`*", text))))
    return f"\nCommand: {ticks}{text}{ticks}\n\n"


def _scores(run):
    path = run.evaluation / "test.json"
    if not path.is_file():
        return "None recorded.\n"
    return "Means over test images, nats.\n\n" + _table(_read(path))


def _read(path):
    facts = runs.read_json(path)
    if not isinstance(facts, dict):
        raise checks.invalid("run", f"a JSON object in {path}", type(facts).__name__)
    return facts


def _attacks(run):
    # Not those on a model that was here before.
    found = [path for path in sorted(run.attacks.glob("*/summary.json")) if _is_of(run, path)]
    if not found:
        return "None made.\n"
    parts = []
    for path in found:
        summary = _read(path)
        try:
            made = summary.pop("diagnostics", [])
            fired = [check["name"] for check in made if check["fired"]]
        except (KeyError, TypeError) as error:
            wanted = f"diagnostics as trainers.attack writes them in {path}"
            raise checks.invalid("run", wanted, error) from error
        verdict = (
            f"Don't trust it: {', '.join(map(_line, fired))}"
            if fired
            else f"None of {len(made)} checks fired"
            if made
            else "No checks are recorded"
        )
        parts.append(f"### {_line(path.parent.name)}\n\n{_table(summary)}\n{verdict}.\n")
    return "\n".join(parts)


def _is_of(run, summary):
    path = summary.with_name("battery.json")
    origin = _read(path).get("origin") if path.is_file() else None
    return isinstance(origin, dict) and origin.get("model") == run.model_digest()


def _table(facts):
    rows = [f"| {_line(name)} | {_cell(value)} |\n" for name, value in facts.items()]
    return "".join(["| | |\n|---|---|\n", *rows]) if rows else ""


def _cell(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        found = {name: number for name, number in value.items() if number is not None}
        return ", ".join(f"{_line(name)} {_cell(number)}" for name, number in found.items())
    return _line(value)


def _line(value):
    """A value as text in one line, in which Markdown finds no markup, link, image or table."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    # As entities: a backslash before one of them might be escaped by one that was there.
    return re.sub(r"[\\`*|]|(?<=\])\(", lambda found: f"&#{ord(found[0])};", text)
