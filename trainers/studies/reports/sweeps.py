"""Reports over β, depth and width."""

import numpy as np

from seatbelt_tf import figures
from seatbelt_tf.figures import charts
from trainers.studies.reports import common
from trainers.studies.study import Report, interval
from trainers.studies.tables import number, words
from trainers.studies.zoo import OBJECTIVES, PARTS


def single_layer(zoo, findings):
    """Figure 3: Δ of β-TCVAEs against β, and what it does not show: the area above blending."""
    return _against_beta(
        "figure3",
        zoo,
        findings,
        {"β-TCVAE": lambda beta: [zoo.single(beta, units=units) for units in zoo.dims]},
        {"latent attack": zoo.attack()},
        paper="Δ grows with β",
    )


def three_attacks(zoo, findings):
    """Figure 5: three attacks on both models against β."""
    return _against_beta(
        "figure5",
        zoo,
        findings,
        {
            "β-TCVAE": lambda beta: [zoo.single(beta)],
            f"Seatbelt-VAE, L = {zoo.scale.depth}": lambda beta: [zoo.hierarchical(beta)],
        },
        {objective: zoo.attack(objective) for objective in OBJECTIVES},
        paper="Δ grows with β, up to 10^7 times further for the Seatbelt-VAE",
    )


def layers(zoo, findings):
    """Figure D.8: the bottom layer, the top layer and all layers attacked."""
    return _against_beta(
        "figureD8",
        zoo,
        findings,
        {f"L = {zoo.scale.depth}": lambda beta: [zoo.of(beta, zoo.scale.depth)]},
        {f"layers attacked: {part}": zoo.attack(layers=part) for part in PARTS},
        paper="attacking all layers is slightly better than only one",
    )


def distances(zoo, findings):
    """Figure E.10: distances after latent and output attacks."""
    return _against_beta(
        "figureE10",
        zoo,
        findings,
        {"β-TCVAE": lambda beta: [zoo.single(beta, units=units) for units in zoo.dims]},
        {"latent attack": zoo.attack(), "output attack": zoo.attack("output")},
        {
            "target_reconstruction": "‖target − its reconstruction‖₂",
            "adversarial_target": "‖adversarial input − target‖₂",
            "output_target": "‖its reconstruction − target‖₂",
            "loss": common.LOSS,
            "area_above_blending": common.AREA,
        },
        paper="output attacks get less close to the target than latent ones",
    )


def _against_beta(name, zoo, findings, members, attacks, shown=None, *, paper):
    """A table row a model, attack and β; a panel a measure (and attack), a line a model."""
    shown = shown or common.MEASURES
    betas = zoo.scale.betas
    is_apart = len(members) > 1 and len(attacks) > 1
    rows, curves, ends = [], {}, []
    for attack, measure in attacks.items():
        for member, models in members.items():
            label = member if len(attacks) == 1 else f"{member}, {attack}"
            found = {
                key: [interval(findings.over_seeds(models(beta), measure, key)) for beta in betas]
                for key in shown
            }
            for key, values in found.items():
                mean, lower, upper = np.array(values).T
                line = {member if is_apart else label: (mean, np.stack([lower, upper]))}
                curves.setdefault((key, attack if is_apart else ""), {}).update(line)
            first, last = (number(found["area_above_blending"][end][0]) for end in (0, -1))
            ends.append(f"{label} {first} and {last}")
            for place, beta in enumerate(betas):
                quality = findings.finished(models(beta), zoo.clean())
                rows.append(
                    {
                        "model": member,
                        "attack": attack,
                        "β": beta,
                        **{shown[key]: words(*values[place]) for key, values in found.items()},
                        "log p(x|z)": common.mean(quality, "log_likelihood"),
                        "checks that fired": common.fired(findings, models(beta), measure),
                    }
                )
    drawn = {}
    for key, attack in sorted(curves, key=lambda place: list(shown).index(place[0])):
        panel = f"{shown[key]}, {attack}" if attack else shown[key]
        drawn[panel] = charts.lines(
            betas, curves[key, attack], xlabel="β", ylabel=shown[key], log=key == "loss"
        )
    columns = len(attacks) if is_apart else 2
    widths = " and widths" if any(len(models(betas[0])) > 1 for models in members.values()) else ""
    title = f"shaded: 95 % interval over pairs{widths}"
    pictures = {name: charts.panels(drawn, columns=columns, title=title)}
    trained = [model for models in members.values() for beta in betas for model in models(beta)]
    labels = [f"{m.member} β = {m.option('beta'):g}" for m in trained]
    if widths:
        labels = [
            f"{label}, {m.option('latent_dims')} units"
            for label, m in zip(labels, trained, strict=True)
        ]
    by_label = {label: [model] for label, model in zip(labels, trained, strict=True)}
    pictures["training"] = common.training_curves(findings, zoo, by_label)
    ours = f"{common.AREA} at β = {betas[0]:g} and {betas[-1]:g}: {'; '.join(ends)}"
    return Report({name: rows}, pictures, paper, ours)


def quality(zoo, findings):
    """Figure 6: ELBO without the penalty against β, and reconstructions."""
    scale = zoo.scale
    rows, curves = [], {"elbo": {}, "log_likelihood": {}}
    for depth in zoo.depths:
        label = "β-TCVAE, L = 1" if depth == 1 else f"Seatbelt-VAE, L = {depth}"
        found = [findings.of(zoo.of(beta, depth), zoo.clean()) for beta in scale.betas]
        for name, lines in curves.items():
            lines[label] = [common.value(values, name) for values in found]
        rows += [
            {
                "model": label,
                "β": beta,
                "ELBO": number(common.value(values, "elbo"), 4),
                "log p(x|z)": number(common.value(values, "log_likelihood"), 4),
                "squared error": number(common.value(values, "squared_error")),
                "total correlation": number(common.value(values, "total_correlation")),
            }
            for beta, values in zip(scale.betas, found, strict=True)
        ]
    pictures = {
        "figure6": charts.panels(
            {
                name.replace("_", " "): charts.lines(
                    scale.betas, lines, xlabel="β", ylabel="nats an image"
                )
                for name, lines in curves.items()
            }
        )
    }
    pictures["training"] = _training(zoo, findings)
    last = max(scale.betas)
    compared = [findings.of(zoo.of(last, depth), zoo.clean()) for depth in (1, scale.depth)]
    if all(found is not None for found in compared):
        for name, found in zip(("single", "seatbelt"), compared, strict=True):
            pictures[f"reconstructions_{name}"] = figures.reconstructions(
                found["images"],
                found["reconstructions"],
                title=f"β = {last:g}, {'L = 1' if name == 'single' else f'L = {scale.depth}'}",
            )
    lost = []
    for depth in (1, scale.depth):
        low, high = (
            common.value(findings.of(zoo.of(beta, depth), zoo.clean()), "elbo")
            for beta in (min(scale.betas), last)
        )
        lost.append(f"L = {depth}: {number(low - high)}")
    ours = f"ELBO lost from β = {min(scale.betas):g} to {last:g}, nats: {'; '.join(lost)}"
    paper = "the ELBO falls more slowly with β for Seatbelt-VAEs"
    return Report({"figure6": rows}, pictures, paper, ours)


def _is_close(quality, reference):
    """Whether a log p(x | z) is no more than 5 % below another, in a word."""
    if not np.isfinite(quality - reference):
        return "—"
    return "yes" if quality >= reference - 0.05 * abs(reference) else "no"


def heat_maps(zoo, findings):
    """Figure D.9: β × L, with quality; and the most robust model of the VAE's quality."""
    scale, rows = zoo.scale, []
    names = {**common.MEASURES, "log_likelihood": "log p(x|z) (nats)"}
    maps = {name: np.full((len(zoo.depths), len(scale.betas)), np.nan) for name in names}
    reference = common.value(findings.of(zoo.of(1.0, 1), zoo.clean()), "log_likelihood")
    for row, depth in enumerate(zoo.depths):
        for column, beta in enumerate(scale.betas):
            model = zoo.of(beta, depth)
            quality = common.value(findings.of(model, zoo.clean()), "log_likelihood")
            maps["log_likelihood"][row, column] = quality
            found = {
                name: interval(findings.over_seeds([model], zoo.attack(), name))
                for name in common.MEASURES
            }
            for name, values in found.items():
                maps[name][row, column] = values[0]
            rows.append(
                {
                    "L": depth,
                    "β": beta,
                    **{label: words(*found[name]) for name, label in common.MEASURES.items()},
                    "log p(x|z)": number(quality, 4),
                    "within 5 % of the VAE's": _is_close(quality, reference),
                    "checks that fired": common.fired(findings, [model], zoo.attack()),
                }
            )
    formats = {"area_above_blending": "{:.3f}"}
    drawn = {
        label: charts.heat_map(
            maps[name],
            rows=zoo.depths,
            columns=[f"{beta:g}" for beta in scale.betas],
            ylabel="L",
            xlabel="β",
            template=formats.get(name, "{:,.0f}"),
        )
        for name, label in names.items()
    }
    is_allowed = [row["within 5 % of the VAE's"] == "yes" for row in rows]
    areas = np.where(is_allowed, maps["area_above_blending"].ravel(), np.nan)
    tables, ours = {"figureD9": rows}, ""
    if np.any(np.isfinite(areas)):
        best = rows[np.nanargmin(areas)]
        tables["best"] = [best]
        plain = common.area(findings, zoo, [zoo.of(1.0, 1)])
        ours = (
            f"least {common.AREA} of a model as good as the VAE ({plain}): "
            f"{best[common.AREA].split()[0]} at L = {best['L']}, β = {best['β']:g}"
        )
    paper = "robustness grows with β and L"
    pictures = {"figureD9": charts.panels(drawn), "training": _training(zoo, findings)}
    return Report(tables, pictures, paper, ours)


def _training(zoo, findings):
    """Training curves of a β × L sweep's corners by depth, the least and the greatest β."""
    betas = min(zoo.scale.betas), max(zoo.scale.betas)
    models = {
        f"L = {depth}, β = {beta:g}": [zoo.of(beta, depth)]
        for depth in zoo.depths
        for beta in betas
    }
    return common.training_curves(findings, zoo, models)
