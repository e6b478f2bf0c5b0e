"""Reports that set a few models side by side."""

import numpy as np

from seatbelt_tf import figures
from seatbelt_tf.figures import charts
from trainers.studies.reports import common
from trainers.studies.study import Report, in_words, interval
from trainers.studies.tables import number, words


def comparison(zoo, findings):
    """The five models: areas above blending first; raw losses labelled as what they are."""
    scale = zoo.scale
    members = zip(*map(zoo.members, scale.seeds), strict=True)
    by_member = {models[0].member: models for models in members}
    kl, output, fresh = zoo.attack(), zoo.attack("output"), zoo.attack(ancestors="fresh")
    geometric = {
        "Δ, geometric mean over λ": zoo.losses(),
        "Δ, geometric mean over λ, with noise redrawn (broken)": zoo.losses(ancestors="fresh"),
    }
    plain, rows, dots, curves, blended = by_member["VAE"], [], {}, {}, {}
    for member, models in by_member.items():

        def values(name, measure=kl, models=models):
            return findings.over_seeds(models, measure, name)

        def more(measure, models=models):
            groups = (models, measure), (plain, measure)
            return findings.differences(*groups, "area_above_blending")

        areas = values("area_above_blending")
        quality = findings.finished(models, zoo.clean())
        row = {
            "model": member,
            "seeds": 0 if areas is None else len(areas),
            common.AREA: in_words(areas),
            "more than the VAE's": in_words(more(kl)),
            "attack area": in_words(values("attack_area")),
            "blending area": in_words(values("blending_area")),
            "area above blending, output attack": in_words(values("area_above_blending", output)),
            "more than the VAE's, output attack": in_words(more(output)),
            "norm for half the gap": in_words(values("norm_to_half")),
            "log p(x|z)": common.mean(quality, "log_likelihood"),
            "ELBO": common.mean(quality, "elbo"),
            "squared error": common.mean(quality, "squared_error"),
            "closed share": in_words(values("closed_share")),
            common.TARGET: in_words(values("target_loss")),
            "Δ / Δ(d = 0)": in_words(values("relative_loss")),
            common.LOSS: in_words(values("loss")),
            "Δ with noise redrawn (broken)": in_words(values("loss", fresh)),
            **{
                label: _geometric(values("losses", measure)) for label, measure in geometric.items()
            },
            "Δ, output attack": in_words(values("loss", output)),
            "checks that fired, latent attack": common.fired(findings, models, kl),
        }
        rows.append(row)
        if areas is not None and np.any(np.isfinite(areas)):
            dots[member] = (*interval(areas), np.nanmean(areas, axis=1))
            norms = values("curve_norms")[0]
            curves[member] = np.nanmean(values("attack_curves"), axis=(0, 1))
            blended[member] = np.nanmean(values("blending_curves"), axis=(0, 1))
    pictures = {}
    if dots:
        pictures["areas"] = charts.panels(
            {
                "what being adversarial buys; small marks: seeds": charts.intervals(
                    dots, xlabel=common.AREA
                )
            }
        )
        pictures["distortion_curves"] = figures.distortion_curves(norms, curves, blending=blended)
        pictures["losses"] = _losses(zoo, findings, by_member)
        pictures["training"] = common.training_curves(findings, zoo, by_member)
    areas = [f"{m} {common.area(findings, zoo, models)}" for m, models in by_member.items()]
    paper = "Seatbelt-VAE hardest to attack, TC-penalised DLGM no harder than a VAE (Δ)"
    return Report({"comparison": rows}, pictures, paper, f"{common.AREA}: {'; '.join(areas)}")


def _geometric(losses):
    """(S, P, W) Δ -> its geometric mean and interval in words."""
    if losses is None:
        return in_words(None)
    return words(*np.exp(interval(common.mean_log(losses))))


def _losses(zoo, findings, by_member):
    """Δ against λ, its geometric mean over seeds and pairs, with and without redrawn noise."""
    drawn = {}
    for title, measure in (
        ("a deterministic objective", zoo.losses()),
        ("noise redrawn at every evaluation (broken)", zoo.losses(ancestors="fresh")),
    ):
        curves = {}
        for member, models in by_member.items():
            losses = findings.over_seeds(models, measure, "losses")
            if losses is not None:
                weights = findings.over_seeds(models, measure, "weights")[0]
                by_weight = losses.reshape(-1, len(weights)).T
                curves[member] = np.exp(common.mean_log(by_weight))
        if curves:
            drawn[title] = charts.lines(
                np.log2(weights), curves, xlabel="log₂ λ", ylabel="Δ (nats)", log=True
            )
    return charts.panels(drawn) if drawn else None


def panels(zoo, findings):
    """The paper's figure 1 for three models, the strongest attack of at most half the distance."""
    rows, pictures = [], {}
    for model in zoo.single_and_seatbelt():
        found = findings.of(model, zoo.attack())
        if found is None:
            continue
        rows.append(
            {
                "model": model.member,
                common.AREA: in_words(found["area_above_blending"][None]),
            }
        )
        pictures[model.key.split("-seed")[0]] = common.panel(
            found, f"{model.member}: share of the gap closed, at ‖d‖ / ‖target − input‖"
        )
    areas = [f"{row['model']} {row[common.AREA].split()[0]}" for row in rows]
    paper = "the Seatbelt-VAE's attacked reconstructions stay like the input's"
    return Report({"figure1": rows}, pictures, paper, f"{common.AREA}: {'; '.join(areas)}")


def overlap(zoo, findings):
    """Figure 2."""
    measure = zoo.overlap()
    samples, rows = {}, []
    for model in zoo.overlap_models():
        found = findings.of(model, measure)
        if found is not None:
            samples[model.member] = found["layer_0"]
            rows.append(
                {
                    "model": model.member,
                    "β": model.option("beta"),
                    "median ‖σ(x)‖₂": number(float(np.median(found["layer_0"]))),
                    "5 % to 95 %": " to ".join(
                        number(float(value))
                        for value in np.quantile(found["layer_0"], (0.05, 0.95))
                    ),
                }
            )
    pictures = {}
    if samples:
        drawn = {"width of the posteriors": charts.densities(samples, xlabel="‖σ(x)‖₂")}
        for name in ("log_likelihood", "elbo"):
            curves = {
                label: [
                    common.value(findings.of(zoo.single(beta, penalty=penalty), zoo.clean()), name)
                    for beta in zoo.scale.betas
                ]
                for label, penalty in (("β-VAE", "kl"), ("β-TCVAE", "tc"))
            }
            drawn[name.replace("_", " ")] = charts.lines(
                zoo.scale.betas, curves, xlabel="β", ylabel="nats"
            )
        pictures["figure2"] = charts.panels(drawn, columns=3)
    paper = "β-TCVAE's posteriors overlap more than a VAE's, less than a β-VAE's"
    medians = [f"{row['model']} {row['median ‖σ(x)‖₂']}" for row in rows]
    return Report({"figure2": rows}, pictures, paper, f"median ‖σ(x)‖₂: {'; '.join(medians)}")


def hearts(zoo, findings):
    """Figure 4."""
    rows, pictures = [], {}
    for model in zoo.heart_models():
        found = findings.of(model, zoo.heart_attack())
        if found is None:
            continue
        beta = model.option("beta")
        rows.append(
            {
                "model": model.member,
                "β": beta,
                **{label: in_words(found[name][None]) for name, label in common.MEASURES.items()},
            }
        )
        name = f"{'L2' if model.option('layers') else 'L1'}_beta{beta:g}"
        pictures[name] = common.panel(found, f"{model.member}, β = {beta:g}")
    areas = [f"{row['model']} β = {row['β']:g} {row[common.AREA].split()[0]}" for row in rows]
    paper = "a heart attacked towards a rotated one: only Seatbelt-VAEs keep it as it was"
    ours = f"{common.AREA}: {'; '.join(areas)}"
    if zoo.dataset != "sprites":
        ours += "; the hearts are those of sprites, whose outline is a little different"
    return Report({"figure4": rows}, pictures, paper, ours)
