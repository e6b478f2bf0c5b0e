"""What an evaluation says of its attacks: curves together, then each one's numbers and checks."""

from typing import NamedTuple

from trainers import batteries
from trainers.evaluation.output import Picture, Row, Section


class Attacked(NamedTuple):
    """A finished battery.

    Attributes:
        battery: an `attacks.battery.Battery`.
        records: its records.
        summary: see `batteries.summarise`.
        diagnoses: list of `Diagnosis`.
        distances: see `parts.battery_distances`.
    """

    battery: object
    records: dict
    summary: dict
    diagnoses: list
    distances: dict


ATTACKS = {
    "area_above_blending": (
        "",
        "what being adversarial buys over simply mixing the target in: at 0 this attack gains "
        "nothing, below 0 it is weaker than that. The number that compares models, read beside "
        "norm_to_half: a model that lets everything mixed in through has little of it",
    ),
    "attack_area": ("", "area under the attack's distortion curve, between 0 and 1"),
    "blending_area": ("", "the same when the target is mixed in without any attack"),
    "norm_to_half": (
        "of ‖x_t − x‖₂",
        "distortion, relative to the distance of input and target, that closes half the gap "
        "between their reconstructions: larger is more robust",
    ),
    "closed_share": ("", "share of that gap closed, averaged over all λ: smaller is more robust"),
    "target_loss": (
        "nats",
        "−log p(x_t | z*), averaged over all λ as in the paper: larger is more robust",
    ),
    "floor": ("nats", "the same of the target's own reconstruction, where a full success ends"),
    "ceiling": ("nats", "the same without any attack"),
    "relative_loss": ("", "Δ relative to no distortion at all, averaged over all λ"),
    "loss": (
        "nats",
        "Δ averaged over all λ as in the paper's figures; it changes with layers and units, so it "
        "does not compare models",
    ),
}
DISTANCES = {
    "target_reconstruction": "from the target to its own reconstruction: the model's blur",
    "adversarial_target": "from the attacked input to the target, averaged over all λ",
    "output_target": "from the attacked input's reconstruction to the target, averaged over all λ",
}


def attacks(found, blending):
    """All batteries: their curves together, then each one's numbers, checks and panel.

    Args:
        found: list of `Attacked`, on the same pairs.
        blending: see `batteries.blending_shares`.

    Returns:
        List of `Section`.
    """
    records = {one.battery.options["objective"]: one.records for one in found}
    pairs, weights = len(blending), len(found[0].battery.weights)
    pictures = [
        Picture(
            "loss",
            batteries.loss_curves(records),
            "Attack loss against the attack's weight",
            "The attacks' Δ against λ, the price of a distortion. An output attack's may be "
            "below 0, off the foot of the logarithmic axis.",
        ),
    ]
    if "attack_area" in found[0].summary:
        curves = Picture(
            "distortion",
            batteries.distortion_curves(records, blending),
            "Share of the gap closed against the size of the distortion, beside blending",
            "How much of the way to the target's reconstruction a distortion goes, against its "
            "size. Above the blending curve an attack is worth something.",
        )
        pictures.insert(0, curves)
    first = Section(
        "Under attack",
        [
            f"{pairs} pairs of test images, each attacked under {weights} weights λ from 2⁻²⁰ to "
            "2²⁰, which price the distortion against success. Intervals are 95 % by bootstrap "
            "over pairs. A result is an upper bound on how hard the model is to attack.",
        ],
        pictures=pictures,
    )
    return [first, *map(_attack, found)]


def panel_name(one):
    """The name of an attack's panel among the pictures."""
    return f"panel_{one.battery.options['objective']}"


def _attack(one):
    objective, summary = one.battery.options["objective"], one.summary
    rows = [
        Row(name, **summary[name], unit=unit, meaning=meaning)
        for name, (unit, meaning) in ATTACKS.items()
        if name in summary
    ]
    rows += [
        Row(name, **batteries.interval(one.distances[name]), unit="L₂", meaning=meaning)
        for name, meaning in DISTANCES.items()
    ]
    picture = Picture(
        panel_name(one),
        batteries.battery_panel(one.battery, one.records),
        "Inputs, attacked inputs, targets and the reconstructions of each",
        "Three pairs: the strongest attacks that move the input by at most a quarter, half and "
        "three quarters of the way to the target, or the smallest there is. On the left how much "
        "of the gap they close.",
    )
    return Section(f"Attack: {objective}", [], rows, one.diagnoses, [picture], level=3)


def headline(found):
    """What the page says first: a sentence for each attack."""
    sentences = []
    for one in found:
        objective, summary = one.battery.options["objective"], one.summary
        fired = [diagnosis.name for diagnosis in one.diagnoses if diagnosis.fired]
        if "area_above_blending" in summary:
            area, half = summary["area_above_blending"], summary["norm_to_half"]
            interval = (
                "(one pair, so no interval)"
                if area["lower"] is None
                else f"[{area['lower']:.3f}, {area['upper']:.3f}]"
            )
            sentence = (
                f"{objective}: area above blending {area['mean']:.3f} {interval}, where 0 is "
                f"no gain, over the {summary['pairs_with_gap']} of {summary['pairs']} pairs that "
                "have a gap to close; half of the gap is closed by a distortion of "
                f"{half['mean']:.0%} of the way to the target."
            )
        else:
            sentence = (
                f"{objective}: no pair has a gap to close, since targets are reconstructed no "
                "better from their own latents than from the input's."
            )
        checked = f"{len(one.diagnoses)} checks of the attack"
        sentences.append(
            f"{sentence} {len(fired)} of {checked} fired ({', '.join(fired)}): no evidence of "
            "robustness until they are resolved."
            if fired
            else f"{sentence} None of {checked} fired."
        )
    return sentences
