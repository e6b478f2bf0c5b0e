"""Reports of what is not an attack on reconstructions."""

import numpy as np

from seatbelt_tf import presets, tensors
from seatbelt_tf.evaluation.downstream import TASKS
from seatbelt_tf.figures import charts
from trainers.studies import swiss_roll as training
from trainers.studies.reports import common
from trainers.studies.study import Report, in_words, interval
from trainers.studies.tables import number, words

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
                row[common.MEASURES[name]] = words(*value)
                x, y = by_beta.setdefault(f"β = {beta:g}", ([], []))
                x.append(float(mig["mig"]))
                y.append(value[0])
            rows.append(row)
    drawn = {
        common.MEASURES[name]: charts.points(
            by_beta, xlabel="MIG", ylabel=common.MEASURES[name], log=name == "loss"
        )
        for name, by_beta in groups.items()
    }
    pictures = {"figureE11": charts.panels(drawn)} if rows else {}
    pairs = [f"{row['MIG']} and {row[common.AREA].split()[0]}" for row in rows]
    paper = "no simple correspondence of MIG and Δ"
    return Report(
        {"figureE11": rows}, pictures, paper, f"MIG and {common.AREA}: {'; '.join(pairs)}"
    )


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
                    "log p(x|z)": in_words(values["log_likelihood"][None, place], digits=4),
                }
                for beta, values in found.items()
            ]
    pictures = {"figureF12": charts.panels(drawn, columns=3)} if drawn else {}
    noisiest = [row for row in rows if row["a"] == max(presets.NOISE_SCALES)]
    found = [f"{r['model']} β = {r['β']:g} {r['log p(x|z)'].split()[0]}" for r in noisiest]
    paper = "log p(x|z) of noisy inputs is much higher for penalised models"
    ours = f"log p(x|z) at a = {max(presets.NOISE_SCALES):g}: {'; '.join(found)}"
    return Report({"figureF12": rows}, pictures, paper, ours)


def table1(zoo, findings):
    """Table 1: accuracy under attack and its drop, beside the paper's."""
    scale, rows = zoo.scale, []
    by_member = zip(*map(zoo.single_and_seatbelt, scale.seeds), strict=True)
    for place, models in enumerate(by_member):
        found = findings.finished(models, zoo.downstream())
        for task in TASKS if found else ():
            clean_rows = np.stack([values[f"clean_{task}"] for values in found])
            attacked = np.stack([values[f"attacked_{task}"] for values in found])
            before = np.stack([values[f"clean_{task}"][values["rows"]] for values in found])
            paper = PAPER_TABLE1.get(zoo.dataset, {}).get(task, ("—",) * 3)[place]
            rows.append(
                {
                    "model": models[0].member,
                    "task": task,
                    "seeds": len(found),
                    "clean": in_words(clean_rows),
                    "attacked": in_words(attacked),
                    "drop": in_words(attacked.astype(float) - before),
                    "paper: attacked (drop)": paper,
                }
            )
    latents = [row for row in rows if row["task"] == TASKS[-1]]
    told = [f"{row['model']} {row['attacked'].split()[0]}" for row in latents]
    papers = [f"{row['model']} {row['paper: attacked (drop)'].split()[0]}" for row in latents]
    of = f"accuracy under attack, {TASKS[-1]}: "
    return Report({"table1": rows}, {}, of + "; ".join(papers), of + "; ".join(told))


def swiss_roll(zoo, findings):
    """Figure A.7: points, reconstructions and aggregate posteriors, quality; None if not made."""
    stored = [tensors.load_whole(path) for path in training.files(zoo, findings.store)]
    if any(arrays is None for arrays in stored):
        return None
    rows, points, latents = [], {}, {}
    for (beta, penalty), found in zip(training.MODELS, stored, strict=True):
        findings.seconds += float(found["seconds"])
        name = presets.member((2,), penalty, beta)
        name += f", β = {beta:g}" if beta != 1 else ""
        points["points"] = found["points"], found["angle"]
        points[f"{name}: reconstructions"] = found["reconstructions"], found["angle"]
        latents[f"{name}: q(z)"] = found["latents"], found["angle"]
        rows.append(
            {
                "model": name,
                "squared error": number(float(found["squared_error"])),
                "KL (nats)": number(float(found["kl"])),
                "total correlation (nats)": number(float(found["total_correlation"])),
            }
        )
    worst = [
        f"{row['model']} {row['squared error']}" for row in rows if row["model"].endswith(" 128")
    ]
    return Report(
        {"figureA7": rows},
        {
            "figureA7": charts.panels(
                {**charts.clouds(points), **charts.clouds(latents)}, columns=4, size=(4, 3.6)
            )
        },
        "large β ruins the β-VAE's reconstructions, not the β-TCVAE's",
        f"squared error: {'; '.join(worst)}; VAE {rows[0]['squared error']}",
    )
