"""Tables and figures of the experiments, from what was measured."""

import math

import numpy as np

from seatbelt_tf import figures, presets
from seatbelt_tf.evaluation.downstream import TASKS
from seatbelt_tf.figures import charts
from trainers.studies import swiss_roll
from trainers.studies.scales import OBJECTIVES, PARTS
from trainers.studies.study import Report, interval, number, words

AREA, LOSS = "area above blending", "Δ averaged over λ (nats)"
TARGET = "−log p(target | z*) (nats)"
# Table 1 of the paper: accuracy under attack (drop), VAE, β-TCVAE, Seatbelt-VAE.
PAPER_TABLE1 = {
    "svhn_cropped": {
        "mlp_reconstruction": (".17 (−.35)", ".22 (−.29)", ".35 (−.15)"),
        "conv_reconstruction": (".13 (−.54)", ".36 (−.28)", ".41 (−.26)"),
        "mlp_latents": (".15 (−.57)", ".46 (−.23)", ".57 (−.21)"),
    },
    "cifar10": {
        "mlp_reconstruction": (".17 (−.32)", ".25 (−.21)", ".38 (−.09)"),
        "conv_reconstruction": (".07 (−.37)", ".32 (−.10)", ".34 (−.07)"),
        "mlp_latents": (".16 (−.41)", ".26 (−.23)", ".39 (−.09)"),
    },
}


def comparison(zoo, findings):
    """The five models: areas above blending first; raw losses labelled as what they are."""
    scale = zoo.scale
    by_member = {}
    for seed in scale.seeds:
        for model in zoo.members(seed):
            by_member.setdefault(model.member, []).append(model)
    kl, output, fresh = zoo.attack(), zoo.attack("output"), zoo.attack(ancestors="fresh")
    plain = findings.over_seeds(by_member["VAE"], kl, "area_above_blending")
    rows, dots, curves = [], {}, {}
    for member, models in by_member.items():

        def values(name, measure=kl, models=models):
            return findings.over_seeds(models, measure, name)

        areas = values("area_above_blending")
        difference = None
        if areas is not None and plain is not None and len(areas) == len(plain):
            difference = areas - plain
        quality = [findings.of(model, zoo.clean()) for model in models]
        quality = [found for found in quality if found is not None]
        row = {
            "model": member,
            "seeds": 0 if areas is None else len(areas),
            AREA: words(*interval(areas)),
            "more than the VAE's": words(*interval(difference)),
            "attack area": words(*interval(values("attack_area"))),
            "blending area": words(*interval(values("blending_area"))),
            "area above blending, output attack (first seed)": words(
                *interval(values("area_above_blending", output))
            ),
            "norm for half the gap": words(*interval(values("norm_to_half"))),
            "log p(x|z)": _mean(quality, "log_likelihood"),
            "ELBO": _mean(quality, "elbo"),
            "squared error": _mean(quality, "squared_error"),
            "closed share": words(*interval(values("closed_share"))),
            TARGET: words(*interval(values("target_loss"))),
            "Δ / Δ(d = 0)": words(*interval(values("relative_loss"))),
            LOSS: words(*interval(values("loss"))),
            "Δ with noise redrawn (broken)": words(*interval(values("loss", fresh))),
            "Δ, output attack (first seed)": words(*interval(values("loss", output))),
            "checks that fired": _fired(findings, models, kl),
        }
        rows.append(row)
        if areas is not None and np.any(np.isfinite(areas)):
            dots[member] = (*interval(areas), np.nanmean(areas, axis=1))
            norms = values("curve_norms")[0]
            curves[member] = np.nanmean(values("attack_curves"), axis=(0, 1))
            blended = np.nanmean(values("blending_curves"), axis=(0, 1))
            curves[f"{member}, blending"] = blended
    pictures = {}
    if dots:
        pictures["areas"] = charts.panels(
            {"what being adversarial buys; small marks: seeds": charts.intervals(dots, xlabel=AREA)}
        )
        pictures["distortion_curves"] = figures.distortion_curves(norms, curves)
        pictures["training"] = _training_curves(findings, zoo, by_member)
    return Report({"comparison": rows}, pictures)


def panels(zoo, findings):
    """The paper's figure 1 for three models, the strongest attack of at most half the distance."""
    beta = zoo.scale.beta
    rows, pictures = [], {}
    for model in (zoo.single(1.0), zoo.single(beta), zoo.hierarchical(beta)):
        found = findings.of(model, zoo.attack())
        if found is None:
            continue
        rows.append(
            {"model": model.member, AREA: words(*interval(found["area_above_blending"][None]))}
        )
        pictures[model.key.split("-seed")[0]] = _panel(
            found, f"{model.member}: share of the gap closed, at ‖d‖ / ‖target − input‖"
        )
    return Report({"figure1": rows}, pictures)


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
                    _value(findings.of(zoo.single(beta, penalty=penalty), zoo.clean()), name)
                    for beta in zoo.scale.betas
                ]
                for label, penalty in (("β-VAE", "kl"), ("β-TCVAE", "tc"))
            }
            drawn[name.replace("_", " ")] = charts.lines(
                zoo.scale.betas, curves, xlabel="β", ylabel="nats"
            )
        pictures["figure2"] = charts.panels(drawn, columns=3)
    return Report({"figure2": rows}, pictures)


def single_layer(zoo, findings):
    """Figure 3: Δ of β-TCVAEs against β, and what it does not show: the area above blending."""
    return _against_beta(
        "figure3",
        zoo,
        findings,
        {"β-TCVAE": lambda beta: [zoo.single(beta, units=units) for units in zoo.dims]},
        {"latent attack": zoo.attack()},
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
    )


def layers(zoo, findings):
    """Figure D.8: the bottom layer, the top layer and all layers attacked."""
    return _against_beta(
        "figureD8",
        zoo,
        findings,
        {f"L = {zoo.scale.depth}": lambda beta: [zoo.of(beta, zoo.scale.depth)]},
        {f"layers attacked: {part}": zoo.attack(layers=part) for part in PARTS},
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
            "loss": LOSS,
            "area_above_blending": AREA,
        },
    )


MEASURES = {"target_loss": TARGET, "loss": LOSS, "area_above_blending": AREA}


def _against_beta(name, zoo, findings, members, attacks, shown=None):
    """A table row a model, attack and β; a panel a measure, a line a model and attack."""
    shown = shown or MEASURES
    betas = zoo.scale.betas
    rows, curves = [], {key: {} for key in shown}
    for attack, measure in attacks.items():
        for member, models in members.items():
            label = member if len(attacks) == 1 else f"{member}, {attack}"
            found = {
                key: [interval(findings.over_seeds(models(beta), measure, key)) for beta in betas]
                for key in shown
            }
            for key, values in found.items():
                mean, lower, upper = np.array(values).T
                curves[key][label] = (mean, np.stack([lower, upper]))
            for place, beta in enumerate(betas):
                quality = [findings.of(model, zoo.clean()) for model in models(beta)]
                rows.append(
                    {
                        "model": member,
                        "attack": attack,
                        "β": beta,
                        **{shown[key]: words(*values[place]) for key, values in found.items()},
                        "log p(x|z)": _mean(
                            [q for q in quality if q is not None], "log_likelihood"
                        ),
                        "checks that fired": _fired(findings, models(beta), measure),
                    }
                )
    drawn = {
        shown[key]: charts.lines(betas, lines, xlabel="β", ylabel=shown[key], log=key == "loss")
        for key, lines in curves.items()
    }
    pictures = {name: charts.panels(drawn, title="shaded: 95 % interval over pairs")}
    trained = [model for models in members.values() for beta in betas for model in models(beta)]
    pictures["training"] = _training_curves(
        findings, zoo, {f"{m.member} β = {m.option('beta'):g}": [m] for m in trained}
    )
    return Report({name: rows}, {key: value for key, value in pictures.items() if value})


def quality(zoo, findings):
    """Figure 6: ELBO without the penalty against β, and reconstructions."""
    scale = zoo.scale
    rows, curves = [], {"elbo": {}, "log_likelihood": {}}
    for depth in scale.depths:
        label = "β-TCVAE, L = 1" if depth == 1 else f"Seatbelt-VAE, L = {depth}"
        found = [findings.of(zoo.of(beta, depth), zoo.clean()) for beta in scale.betas]
        for name, lines in curves.items():
            lines[label] = [_value(values, name) for values in found]
        rows += [
            {
                "model": label,
                "β": beta,
                "ELBO": number(_value(values, "elbo"), 4),
                "log p(x|z)": number(_value(values, "log_likelihood"), 4),
                "squared error": number(_value(values, "squared_error")),
                "total correlation": number(_value(values, "total_correlation")),
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
    last = max(scale.betas)
    compared = [findings.of(zoo.of(last, depth), zoo.clean()) for depth in (1, scale.depth)]
    if all(found is not None for found in compared):
        for name, found in zip(("single", "seatbelt"), compared, strict=True):
            pictures[f"reconstructions_{name}"] = figures.reconstructions(
                found["images"],
                found["reconstructions"],
                title=f"β = {last:g}, {'L = 1' if name == 'single' else f'L = {scale.depth}'}",
            )
    return Report({"figure6": rows}, pictures)


def heat_maps(zoo, findings):
    """Figure D.9: β × L, with quality; and the most robust model of the VAE's quality."""
    scale, rows = zoo.scale, []
    names = {**MEASURES, "log_likelihood": "log p(x|z) (nats)"}
    maps = {name: np.full((len(scale.depths), len(scale.betas)), np.nan) for name in names}
    reference = _value(findings.of(zoo.of(1.0, 1), zoo.clean()), "log_likelihood")
    for row, depth in enumerate(scale.depths):
        for column, beta in enumerate(scale.betas):
            model = zoo.of(beta, depth)
            quality = _value(findings.of(model, zoo.clean()), "log_likelihood")
            maps["log_likelihood"][row, column] = quality
            found = {
                name: interval(findings.over_seeds([model], zoo.attack(), name))
                for name in MEASURES
            }
            for name, values in found.items():
                maps[name][row, column] = values[0]
            rows.append(
                {
                    "L": depth,
                    "β": beta,
                    **{label: words(*found[name]) for name, label in MEASURES.items()},
                    "log p(x|z)": number(quality, 4),
                    "within 5 % of the VAE's": "yes"
                    if quality >= reference - 0.05 * abs(reference)
                    else "no",
                    "checks that fired": _fired(findings, [model], zoo.attack()),
                }
            )
    formats = {"area_above_blending": "{:.3f}"}
    drawn = {
        label: charts.heat_map(
            maps[name],
            rows=scale.depths,
            columns=[f"{beta:g}" for beta in scale.betas],
            ylabel="L",
            xlabel="β",
            template=formats.get(name, "{:,.0f}"),
        )
        for name, label in names.items()
    }
    allowed = [row for row in rows if row["within 5 % of the VAE's"] == "yes" and row[AREA] != "—"]
    best = min(allowed, key=lambda row: float(row[AREA].split()[0]), default=None)
    tables = {"figureD9": rows}
    if best is not None:
        tables["best"] = [best]
    return Report(tables, {"figureD9": charts.panels(drawn)})


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
                **{label: words(*interval(found[name][None])) for name, label in MEASURES.items()},
            }
        )
        name = f"{'L2' if model.option('layers') else 'L1'}_beta{beta:g}"
        pictures[name] = _panel(found, f"{model.member}, β = {beta:g}")
    return Report({"figure4": rows}, pictures)


def disentanglement(zoo, findings):
    """Figure E.11: MIG against the attack's loss and the area above blending."""
    measure = zoo.disentanglement()
    rows, groups = [], {"loss": {}, "area_above_blending": {}}
    for beta in zoo.scale.betas:
        for units in zoo.dims:
            model = zoo.single(beta, units=units)
            mig, attack = findings.of(model, measure), findings.of(model, zoo.attack())
            if mig is None or attack is None:
                continue
            row = {"β": beta, "units": units, "MIG": number(float(mig["mig"]))}
            for name, by_beta in groups.items():
                value = interval(attack[name][None])
                row[MEASURES[name]] = words(*value)
                x, y = by_beta.setdefault(f"β = {beta:g}", ([], []))
                x.append(float(mig["mig"]))
                y.append(value[0])
            rows.append(row)
    drawn = {
        MEASURES[name]: charts.points(
            by_beta, xlabel="MIG", ylabel=MEASURES[name], log=name == "loss"
        )
        for name, by_beta in groups.items()
    }
    return Report({"figureE11": rows}, {"figureE11": charts.panels(drawn)} if rows else {})


def denoising(zoo, findings):
    """Figure F.12: log p(x | z) of the clean image given the noisy input."""
    rows, drawn = [], {}
    for depth in (1, zoo.scale.depth):
        found = {
            beta: findings.of(zoo.of(beta, depth), zoo.denoising()) for beta in zoo.scale.betas
        }
        found = {beta: values for beta, values in found.items() if values is not None}
        label = "β-TCVAE" if depth == 1 else f"Seatbelt-VAE, L = {depth}"
        for place, scale in enumerate(presets.NOISE_SCALES):
            samples = {
                f"β = {beta:g}": values["log_likelihood"][place] for beta, values in found.items()
            }
            if samples:
                drawn[f"{label}, a = {scale:g}"] = charts.densities(samples, xlabel="log p(x|z)")
            rows += [
                {
                    "model": label,
                    "a": scale,
                    "β": beta,
                    "log p(x|z)": words(*interval(values["log_likelihood"][None, place]), digits=4),
                }
                for beta, values in found.items()
            ]
    pictures = {"figureF12": charts.panels(drawn, columns=3)} if drawn else {}
    return Report({"figureF12": rows}, pictures)


def table1(zoo, findings):
    """Table 1: accuracy under attack and its drop, beside the paper's."""
    scale, rows = zoo.scale, []
    by_member = zip(*(zoo.downstream_models(seed) for seed in scale.seeds), strict=True)
    for place, models in enumerate(by_member):
        found = [findings.of(model, zoo.downstream()) for model in models]
        found = [values for values in found if values is not None]
        for task in TASKS if found else ():
            clean_rows = np.stack([values[f"clean_{task}"] for values in found]).astype(float)
            attacked = np.stack([values[f"attacked_{task}"] for values in found]).astype(float)
            before = np.stack([values[f"clean_{task}"][values["rows"]] for values in found]).astype(
                float
            )
            paper = PAPER_TABLE1.get(zoo.dataset, {}).get(task, ("—",) * 3)[place]
            rows.append(
                {
                    "model": models[0].member,
                    "task": task,
                    "seeds": len(found),
                    "clean": words(*interval(clean_rows)),
                    "attacked": words(*interval(attacked)),
                    "drop": words(*interval(attacked - before)),
                    "paper: attacked (drop)": paper,
                }
            )
    return Report({"table1": rows}, {})


def _training_curves(findings, zoo, by_label):
    """ELBO while training, one line a label, of its first finished model."""
    curves, steps = {}, None
    for label, models in by_label.items():
        found = next(
            (f for f in (findings.of(model, zoo.clean()) for model in models) if f is not None),
            None,
        )
        if found is not None and (steps is None or len(found["training_step"]) == len(steps)):
            steps = found["training_step"]
            # The first fifth is far below everything that follows.
            curves[label] = np.where(steps > 0.2 * steps[-1], found["training_elbo"], np.nan)
    if not curves:
        return None
    return charts.panels(
        {"training, penalty not counted": charts.lines(steps, curves, xlabel="step", ylabel="ELBO")}
    )


def _fired(findings, models, measure):
    names = set()
    for model in models:
        found = findings.of(model, measure)
        if found is not None:
            names.update(str(name) for name in found["fired"])
    return ", ".join(sorted(names)) or "none"


def _value(found, name):
    return math.nan if found is None else float(found[name])


def _mean(found, name):
    return number(float(np.mean([values[name] for values in found])), 4) if found else "—"


def _panel(found, title):
    """The paper's figure 1 from what `measures.attack` stored."""
    names = ("images", "reconstructions", "adversarial", "adversarial_reconstructions")
    arrays = [found[f"panel_{name}"] for name in (*names, "targets", "target_reconstructions")]
    labels = [
        f"{share:.0%} at {norm:.2f}"
        for share, norm in zip(found["panel_shares"], found["panel_norms"], strict=True)
    ]
    return figures.attack_panel(*arrays, labels=labels, title=title)


REPORTS = {
    "comparison": comparison,
    "figure1": panels,
    "figure2": overlap,
    "figure3": single_layer,
    "figure4": hearts,
    "figure5": three_attacks,
    "figure6": quality,
    "figureA7": swiss_roll.report,
    "figureD8": layers,
    "figureD9": heat_maps,
    "figureE10": distances,
    "figureE11": disentanglement,
    "figureF12": denoising,
    "table1": table1,
}
