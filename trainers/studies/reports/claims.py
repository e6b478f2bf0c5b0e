"""The paper's claims, each held against what was measured: held, did not hold, or undecided.

A robustness claim is stated in three measures: the paper's with the ancestors' noise redrawn at
every evaluation, as a plain implementation does; the same with a deterministic objective; and the
area above blending, of the latent and of the output attack, which does not depend on λ's scale, the
number of latents or β. The paper's measure is Δ averaged over λ; it does not say how, so that both
the mean, which the largest λ decide, and the geometric mean are taken. Δ is compared by geometric
mean ratios of pairs, everything else by differences; intervals are over training seeds and pairs. A
claim holds when its interval lies wholly on the claim's side, fails when it lies wholly on the
other, and is undecided otherwise.
"""

import numpy as np

from trainers.studies.reports import common
from trainers.studies.study import Report, interval
from trainers.studies.tables import words

AREA = "area above blending (difference)"
OUTPUT_AREA = "area above blending, output attack (difference)"
NOT_MEASURED = "not measured"
NO_RELATION = "MIG does not predict robustness"


def report(zoo, findings):
    """Claims of robustness, a column a measure; the others, a row each."""
    robustness = _robustness(zoo, findings)
    others = [
        *_quality(zoo, findings),
        *_attacks(zoo, findings),
        *_denoising(zoo, findings),
        *_disentanglement(zoo, findings),
        *_downstream(zoo, findings),
    ]
    told = []
    for measure in dict.fromkeys(row["measure"] for row in robustness):
        found = [row["verdict"] for row in robustness if row["measure"] == measure]
        told.append(f"by {measure.split(' (')[0]}: {_counted(found)}")
    # That there is no relation cannot be shown, only that there is one.
    found = [row["verdict"] for row in others if row["claim"] != NO_RELATION]
    told.append(f"of the other claims: {_counted(found)}")
    tables = {"robustness": _by_measure(robustness), "others": others}
    return Report(tables, {}, ours=f"claims that held: {'; '.join(told)}")


def _counted(verdicts):
    """How many of the claims that were measured held."""
    measured = [each for each in verdicts if each != NOT_MEASURED]
    return f"{measured.count('held')} of {len(measured)}" if measured else NOT_MEASURED


def _by_measure(rows):
    """One row a claim, with number and verdict by each measure."""
    by_claim = {}
    for row in rows:
        columns = by_claim.setdefault(row["claim"], {"claim": row["claim"], "paper": row["paper"]})
        columns[row["measure"]] = f"{row['ours']} {row['verdict']}"
    return list(by_claim.values())


def verdict(mean, lower, upper, sign):
    """What an interval says of a claim that the number is above (1) or below (−1) 0."""
    if not np.isfinite(mean):
        return NOT_MEASURED
    if lower * sign > 0 and upper * sign > 0:
        return "held"
    if lower * sign < 0 and upper * sign < 0:
        return "did not hold"
    return "undecided"


def _row(claim, measure, found, sign, paper, is_ratio=False):
    judged = verdict(*found, sign)
    shown = np.exp(found) if is_ratio else found
    return {
        "claim": claim,
        "measure": measure,
        "ours": words(*map(float, shown)),
        "paper": paper,
        "verdict": judged,
    }


def _robustness(zoo, findings):
    """Pairs of models under the measures of robustness, six columns of them."""
    members = map(zoo.members, zoo.scale.seeds)
    plain, single, deep, control, seatbelt = zip(*members, strict=True)
    harder = "harder to attack than"
    compared = [
        (f"β-TCVAE {harder} VAE", single, plain, 1, "log Δ much greater (fig. 3)"),
        (f"Seatbelt-VAE {harder} β-TCVAE", seatbelt, single, 1, "Δ up to 10^7 times (fig. 5)"),
        (f"Seatbelt-VAE {harder} hierarchical VAE", seatbelt, deep, 1, "Δ greater (fig. D.9)"),
        (f"hierarchical VAE {harder} VAE", deep, plain, 1, "Δ greater (fig. D.9)"),
        (f"TC-penalised DLGM no {harder} VAE", control, plain, -1, "no harder (section 4)"),
    ]
    ways = [
        (f"Δ, {average} over λ, {noise} (ratio)", zoo.losses(ancestors), reduce)
        for noise, ancestors in (("noise redrawn", "fresh"), ("deterministic", "mean"))
        for average, reduce in (("mean", common.log_mean), ("geometric mean", common.mean_log))
    ]
    rows = []
    for claim, first, second, sign, paper in compared:
        for name, measure, reduce in ways:
            ratio = findings.differences((first, measure), (second, measure), "losses", reduce)
            rows.append(_row(claim, name, interval(ratio), sign, paper, is_ratio=True))
        for name, attack in ((AREA, zoo.attack()), (OUTPUT_AREA, zoo.attack("output"))):
            groups = (first, attack), (second, attack)
            area = findings.differences(*groups, "area_above_blending")
            rows.append(_row(claim, name, interval(area), -sign, paper))
    return rows


def _quality(zoo, findings):
    """How much of the ELBO β costs."""
    lost = []
    for depth in (1, zoo.scale.depth):
        by_beta = (
            ([zoo.of(beta, depth, seed) for seed in zoo.scale.seeds], zoo.clean())
            for beta in (1.0, zoo.scale.beta)
        )
        lost.append(findings.differences(*by_beta, "elbo", np.atleast_1d))
    complete = all(values is not None and len(values) == len(zoo.scale.seeds) for values in lost)
    difference = lost[0] - lost[1] if complete else None
    claim = "ELBO falls more slowly with β for Seatbelt-VAEs than for β-TCVAEs"
    measure = (
        f"ELBO lost from β = 1 to {zoo.scale.beta:g}: L = 1 less L = {zoo.scale.depth} (nats, "
        f"{len(zoo.scale.seeds)} seeds)"
    )
    return [_row(claim, measure, interval(difference), 1, "slower (fig. 6)")]


def _attacks(zoo, findings):
    """Which attacks are strongest."""
    rows = []
    deep = [zoo.of(beta, zoo.scale.depth) for beta in zoo.scale.betas]
    for part in ("bottom", "top"):
        results = [(deep, zoo.attack(layers=layers)) for layers in ("all", part)]
        for name, measure in (
            ("closed_share", "share of the gap closed, mean over λ (difference)"),
            ("area_above_blending", AREA),
        ):
            rows.append(
                _row(
                    f"attacking all layers is better than the {part} one alone",
                    f"{measure}, {len(deep)} models of other β",
                    interval(findings.differences(*results, name)),
                    1,
                    "slight advantage (fig. D.8)",
                )
            )
    for models in zip(*map(zoo.members, zoo.scale.seeds), strict=True):
        results = [(models, zoo.attack(objective)) for objective in ("latent_kl", "output")]
        difference = findings.differences(*results, "area_above_blending")
        rows.append(
            _row(
                f"latent attacks beat output attacks: {models[0].member}",
                AREA,
                interval(difference),
                1,
                "output attacks less effective (fig. E.10)",
            )
        )
    return rows


def _denoising(zoo, findings):
    """log p(x | z) of noisy inputs, β against 1."""
    rows = []
    for depth in (1, zoo.scale.depth):
        results = [
            ([zoo.of(beta, depth, seed) for seed in zoo.scale.seeds], zoo.denoising())
            for beta in (zoo.scale.beta, 1.0)
        ]
        for place, noise in enumerate(dict(zoo.denoising().options)["scales"]):
            difference = findings.differences(
                *results, "log_likelihood", lambda values, place=place: values[place]
            )
            rows.append(
                _row(
                    f"penalised models denoise better: L = {depth}, a = {noise:g}",
                    f"log p(x|z), β = {zoo.scale.beta:g} less β = 1 (nats)",
                    interval(difference),
                    1,
                    "much higher (fig. F.12)",
                )
            )
    return rows


def _disentanglement(zoo, findings):
    """Rank correlation of MIG and Δ over β-TCVAEs."""
    pairs = []
    for beta in zoo.scale.betas:
        for units in zoo.dims:
            model = zoo.single(beta, units=units)
            mig, attack = (
                findings.of(model, zoo.disentanglement()),
                findings.of(model, zoo.attack()),
            )
            if mig is not None and attack is not None:
                pairs.append((float(mig["mig"]), float(np.mean(attack["loss"]))))
    if len(pairs) < 4:
        return []
    correlation, chance = _rank_correlation(*zip(*pairs, strict=True))
    return [
        {
            "claim": NO_RELATION,
            "measure": "Spearman's ρ of MIG and Δ",
            "ours": f"{correlation:.2f} (p = {chance:.2f}, {len(pairs)} models)",
            "paper": "no simple correspondence (fig. E.11)",
            "verdict": "did not hold" if chance < 0.05 else "undecided",
        }
    ]


def _rank_correlation(first, second):
    """Spearman's ρ and its p-value, by permutations: there are few models."""
    from scipy import stats

    found = stats.permutation_test(
        (first,),
        lambda first: stats.spearmanr(first, second).statistic,
        permutation_type="pairings",
        rng=0,
    )
    return float(found.statistic), float(found.pvalue)


def _downstream(zoo, findings):
    """Accuracy under attack by model."""
    if not zoo.has_classes:
        return []
    from seatbelt_tf.evaluation.downstream import TASKS

    rows = []
    by_member = list(zip(*map(zoo.single_and_seatbelt, zoo.scale.seeds), strict=True))
    for task in TASKS:
        for weaker, stronger in ((0, 1), (1, 2)):
            models = by_member[weaker], by_member[stronger]
            results = [(group, zoo.downstream()) for group in reversed(models)]
            difference = findings.differences(*results, f"attacked_{task}")
            rows.append(
                _row(
                    f"{models[1][0].member} keeps more accuracy under attack than "
                    f"{models[0][0].member}",
                    f"accuracy under attack, {task} (difference)",
                    interval(difference),
                    1,
                    "greater (table 1)",
                )
            )
    return rows
