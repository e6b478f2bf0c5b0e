"""Batteries of attacks on a run's model: set up, summarised and drawn alike by every program."""

import numpy as np

from seatbelt_tf import figures, runs
from seatbelt_tf.attacks import battery, paper_weights
from seatbelt_tf.batches import l2_norms
from seatbelt_tf.evaluation import distances, distortion, intervals, robustness
from trainers import splits, terminal

# Of the attacks in a panel, relative to the distance of input and target.
DRAWN_SIZES = (0.25, 0.5, 0.75)
DRAWN_NORMS = np.linspace(0, 1, 41)


def pairs(data, count, seed, split="test"):
    """Images and targets of a run's dataset: two (P, H, W, C).

    Args:
        data: the data part of the run's configuration, with the directory to read from.
        count: how many pairs.
        seed: chooses them.
        split: of the dataset.

    Raises:
        ValueError: the dataset's images are not those the run was started with.
    """
    splits.check_same_images(data)
    return splits.pairs(data, count, seed, split)


def median_distance(ends):
    """The median L2 distance of images and their targets, two (P, H, W, C): see `pairs`."""
    return float(np.median(l2_norms(np.subtract(*ends))))


def open_battery(run, config, model, ends, weights, options):
    """The battery of a run with some options, finished or not.

    Args:
        run: a `runs.Run`.
        config: its configuration.
        model: its model.
        ends: see `pairs`.
        weights: how many λ.
        options: keyword arguments of `attacks.attack`; "seed" also chose the pairs.
    """
    # Images that have moved are the same images.
    data = {**config["data"], "data_dir": run.config()["data"]["data_dir"]}
    origin = {"model": run.model_digest(), "data": data, "seed": options["seed"]}
    return battery.Battery(model, *ends, paper_weights(weights), run.attacks, options, origin)


def open_batteries(run, config, model, ends, weights, objectives, options):
    """A battery for each of several objectives, each once: arguments as of `open_battery`.

    All are open before any is solved: what is refused is refused before any work.
    """
    return [
        open_battery(run, config, model, ends, weights, {"objective": objective, **options})
        for objective in dict.fromkeys(objectives)
    ]


def solve(attacks, blending):
    """Computes what is missing of a battery, showing progress: -> (records, diagnoses).

    Args:
        attacks: the battery.
        blending: of `blending_shares`.
    """
    objective = attacks.options["objective"]
    done = sum(len(pairs) for path, pairs in attacks.parts() if path.exists())
    weights = len(attacks.weights)
    total = len(attacks.images) * weights
    progress = terminal.Progress(total, done * weights, "attacks", objective)
    records = attacks.run(progress.update)
    diagnoses = attacks.diagnose(
        records,
        distortion.areas(records, blending),
        lambda work: terminal.shown(work, f"{objective}: checks", None),
    )
    return records, diagnoses


def blending_shares(attacks):
    """`distortion.blending_shares` of a battery's pairs: (P, K)."""
    return distortion.blending_shares(attacks.scorer, attacks.images, attacks.targets)


def summarise(records, blending):
    """What a battery found, what compares models first.

    Args:
        records: of `solve`.
        blending: of `blending_shares`.

    Returns:
        Dict of name to {"mean", "lower", "upper"}, with 95 % intervals over pairs (None of one
        pair), of every measure of `robustness.by_pair` that some pair has; then how many pairs,
        how many with a gap to close, and the numbers of `battery.summarise` that are no means.
    """
    measured = {
        name: values[np.isfinite(values)]
        for name, values in robustness.by_pair(records, blending).items()
    }
    counts = battery.summarise(records)
    return {
        **{name: interval(values) for name, values in measured.items() if len(values)},
        "pairs": len(blending),
        "pairs_with_gap": len(measured["area_above_blending"]),
        **{name: value for name, value in counts.items() if not name.startswith("mean_")},
    }


def distances_by_pair(model, records, targets):
    """`evaluation.distances` of a battery's attacks, averaged over λ: dict of (P,).

    Args:
        model: the victim.
        records: dict of arrays of the battery, P pairs × W λ.
        targets: (P, H, W, C).
    """
    found = distances.distances(model, records["adversarial"], targets[records["pair"]])
    pairs = (len(targets), -1)
    return {name: values.reshape(pairs).mean(axis=1) for name, values in found._asdict().items()}


def interval(values):
    """Mean of independent values with its 95 % bootstrap interval (None of one), as a dict."""
    if len(values) == 1:
        return {"mean": float(values[0]), "lower": None, "upper": None}
    return dict(zip(("mean", "lower", "upper"), intervals.bootstrap_interval(values), strict=True))


def write(attacks, records, diagnoses, blending):
    """Writes summary.json into the battery's directory: -> the summary.

    Args:
        attacks: the battery.
        records: of `solve`.
        diagnoses: of `solve`.
        blending: of `blending_shares`.
    """
    summary = summarise(records, blending)
    runs.write_json(
        attacks.path / "summary.json",
        {**summary, "diagnostics": [diagnosis.as_json() for diagnosis in diagnoses]},
    )
    return summary


def draw(attacks, records, blending):
    """Writes the figures into the battery's directory: -> their names."""
    objective = attacks.options["objective"]
    pictures = {
        "loss": loss_curves({objective: records}),
        "panel": battery_panel(attacks, records),
    }
    # Else no pair has a gap to close.
    if np.any(np.isfinite(records["closed_share"])):
        pictures["closed_share"] = closed_share_curves({objective: records})
        pictures["distortion"] = distortion_curves({objective: records}, blending)
    for name, figure in pictures.items():
        figures.save(figure, attacks.path / f"{name}.png")
    return list(pictures)


def loss_curves(records):
    """Δ against λ: dict of label to records -> `Figure`."""
    curves = {label: np.nanmean(_by_weight(r, "loss"), axis=0) for label, r in records.items()}
    # An output attack's may be negative everywhere.
    log = any(np.any(curve > 0) for curve in curves.values())
    return figures.weight_curves(_weights(records), curves, log=log)


def closed_share_curves(records):
    """Share of the gap closed against λ: dict of label to records -> `Figure`."""
    curves = {
        label: np.nanmean(_by_weight(r, "closed_share"), axis=0) for label, r in records.items()
    }
    return figures.weight_curves(
        _weights(records), curves, ylabel="share of the gap closed", log=False
    )


def distortion_curves(records, blending):
    """The distortion curves of attacks on the same pairs, beside blending: -> `Figure`."""
    drawn = {}
    for label, found in records.items():
        attack, blended = distortion.curves(found, blending, DRAWN_NORMS)
        # First, so that it has the same colour in all figures.
        drawn["blending"] = _with_interval(blended)
        drawn[label] = _with_interval(attack)
    return figures.distortion_curves(DRAWN_NORMS, drawn)


def _with_interval(curves):
    """(P, K) curves -> their mean (K,) and the ends of its 95 % interval (2, K)."""
    found = np.array([intervals.bootstrap_interval(values) for values in curves.T]).T
    return found[0], found[1:]


def _weights(records):
    return np.unique(next(iter(records.values()))["weight"])


def _by_weight(records, name):
    """A field as (P, W)."""
    return records[name].reshape(-1, len(np.unique(records["weight"])))


def battery_panel(attacks, records):
    """`panel` of a battery."""
    title = f"{attacks.options['objective']}, layers: {attacks.options['layers']}"
    return panel(attacks.victim, attacks.images, attacks.targets, records, title)


def panel_labels(shares, sizes):
    """What a panel says of each attack: the share of the gap that it closes, and its size."""
    return [
        f"{'no gap' if np.isnan(share) else f'{share:.0%}'} at {size:.2f}"
        for share, size in zip(shares, sizes, strict=True)
    ]


def panel_rows(records):
    """What `panel` draws: rows of the records, one or more for each pair, smallest first."""
    by_size = [distortion.strongest_within(records, size) for size in DRAWN_SIZES]
    sizes = distortion.relative_norms(records)
    rows = []
    for found in list(zip(*by_size, strict=True))[:3]:
        # One that is the strongest for several sizes is drawn once, one without distortion only
        # where there is no other.
        rows += [row for row in dict.fromkeys(found) if sizes[row] > 0] or found[:1]
    return rows


def panel(model, images, targets, records, title):
    """The strongest attacks on three pairs that are no larger than `DRAWN_SIZES`: -> `Figure`.

    Args:
        model: the victim.
        images: (P, H, W, C).
        targets: (P, H, W, C).
        records: those of `distortion.strongest_within`, and "adversarial".
        title: what the attacks are.
    """
    rows = panel_rows(records)
    chosen = records["pair"][rows]
    images, targets = images[chosen], targets[chosen]
    adversarial = records["adversarial"][rows]
    sizes = distortion.relative_norms(records)[rows]
    return figures.attack_panel(
        images,
        model(images).numpy(),
        adversarial,
        model(adversarial).numpy(),
        targets,
        model(targets).numpy(),
        labels=panel_labels(records["closed_share"][rows], sizes),
        title=f"{title}\nshare of the gap closed, at ‖d‖ / ‖target − input‖",
    )
