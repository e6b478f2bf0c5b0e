"""Attacks a trained model: `python -m trainers.attack --help`."""

import json

from absl import flags

from seatbelt_tf import checks, presets, runs
from trainers import program

DESCRIPTION = """
Attacks the model of a run: every pair of test images × every weight λ, for each objective. Every
finished part is stored under the run's attacks/ at once; started again, the program goes on where
it was.

Examples:
  PROGRAM --run=runs/sprites
  PROGRAM --run=runs/sprites --objective=latent_kl,latent_w2,output --pairs=20
  PROGRAM --run=runs/sprites --layers=top --ancestors=sample --strict

Exit status: 0 done, 2 bad input, 3 with --strict when a diagnostic fires.
"""

FLAGS = flags.FLAGS
flags.DEFINE_string("run", None, "Run directory of a trained model.")
flags.DEFINE_list("objective", ["latent_kl"], f"Some of {', '.join(presets.ATTACK_OBJECTIVES)}.")
flags.DEFINE_string("layers", "all", "all, top, bottom, or numbers from 0, the bottom: 0,2.")
flags.DEFINE_enum("ancestors", "mean", ["mean", "sample", "fresh"], "fresh is broken: see docs.")
flags.DEFINE_integer("draws", 4, "Draws of the ancestors, for sample and fresh.")
flags.DEFINE_integer("pairs", 10, "Pairs of test images, chosen by the seed.")
flags.DEFINE_integer("weights", 50, "Weights λ, geometric from 2^-20 to 2^20.")
flags.DEFINE_integer("max_evaluations", 400, "Evaluations allowed to each attack.")
flags.DEFINE_integer("restarts", 0, "Further random starts of each attack.")
flags.DEFINE_integer("seed", 0, "Of pairs, draws and restarts.")
flags.DEFINE_string("data_dir", None, "TFDS data directory. Default: the run's.")
flags.DEFINE_bool("strict", False, "Exit with status 3 when a diagnostic fires.")

DRAWN_WEIGHTS = (2.0**-10, 1.0, 2.0**10)


def main():
    """Runs the batteries, draws them and prints what they found."""
    if FLAGS.run is None:
        raise checks.invalid("run", "--run=DIRECTORY, made by trainers.train", None)
    for name in ("pairs", "weights", "max_evaluations", "draws"):
        checks.positive_integer(name, FLAGS[name].value)
    checks.seed("seed", FLAGS.seed)
    for objective in FLAGS.objective:
        checks.one_of("objective", objective, presets.ATTACK_OBJECTIVES)
    run = runs.Run(FLAGS.run)
    run.check_trained()
    config = run.config()
    layers = _layers(len(config["model"]["latent_dims"]))

    program.import_tensorflow()
    from seatbelt_tf.attacks import battery, paper_weights
    from trainers import training

    model = run.load_model()
    data = {**config["data"], "data_dir": FLAGS.data_dir or config["data"]["data_dir"]}
    images, targets = training.pairs(data, FLAGS.pairs, FLAGS.seed)
    fired = False
    for objective in FLAGS.objective:
        options = {
            "objective": objective,
            "layers": layers,
            "ancestors": FLAGS.ancestors,
            "draws": FLAGS.draws,
            "max_evaluations": FLAGS.max_evaluations,
            "restarts": FLAGS.restarts,
            "seed": FLAGS.seed,
        }
        origin = {"model": run.model_digest(), "data": config["data"], "seed": FLAGS.seed}
        attacks = battery.Battery(
            model, images, targets, paper_weights(FLAGS.weights), run.attacks, options, origin
        )
        records = _run(attacks, objective)
        diagnoses = attacks.diagnose(records)
        fired |= any(diagnosis.fired for diagnosis in diagnoses)
        _report(attacks, records, diagnoses)
    if fired and FLAGS.strict:
        raise SystemExit(3)


def _layers(depth):
    """--layers as `attack` takes it, for a model of that many layers."""
    if FLAGS.layers in ("all", "top", "bottom"):
        return FLAGS.layers
    numbers = FLAGS.layers.split(",")
    if all(number.isdecimal() and int(number) < depth for number in numbers):
        return tuple(sorted({int(number) for number in numbers}))
    raise checks.invalid(
        "layers", f"all, top, bottom or numbers from 0 to {depth - 1}, as in 0,1", FLAGS.layers
    )


def _run(attacks, objective):
    progress = program.Progress(len(attacks.images) * len(attacks.weights), 0, "attacks")
    return attacks.run(lambda done: progress.update(done, 1, objective))


def _report(attacks, records, diagnoses):
    """Writes summary.json and the figures; prints the same."""
    import numpy as np

    from seatbelt_tf import figures
    from seatbelt_tf.attacks import battery
    from seatbelt_tf.evaluation import distortion

    blending = distortion.blending_shares(attacks.scorer, attacks.images, attacks.targets)
    areas = _areas(distortion.areas(records, blending))
    summary = {**areas, **battery.summarise(records)}
    runs.write_json(
        attacks.path / "summary.json",
        {**summary, "diagnostics": [diagnosis._asdict() for diagnosis in diagnoses]},
    )
    for name, value in summary.items():
        if isinstance(value, dict):
            text = f"{value['mean']:14,.4g}  [{value['lower']:,.4g}, {value['upper']:,.4g}]"
        else:
            text = f"{value:14,.4g}"
        print(f"  {name:32}{text}")
    for diagnosis in diagnoses:
        mark = "FIRED" if diagnosis.fired else "ok"
        print(f"  {diagnosis.name:32}{diagnosis.value:14.4g}  {mark}", end="")
        print(f": {diagnosis.meaning}" if diagnosis.fired else "")
    weights = np.unique(records["weight"])
    by_weight = {
        name: np.stack([records[name][records["weight"] == weight] for weight in weights])
        for name in ("loss", "closed_share")
    }
    label = json.dumps(attacks.options["objective"])[1:-1]
    pictures = {
        "loss": figures.weight_curves(weights, {label: by_weight["loss"].mean(axis=1)}),
        "closed_share": figures.weight_curves(
            weights,
            {label: np.nanmean(by_weight["closed_share"], axis=1)},
            ylabel="share of the gap closed",
            log=False,
        ),
        **({"distortion": _distortion(records, blending)} if areas else {}),
        "panel": _panel(attacks, records),
    }
    for name, figure in pictures.items():
        figures.save(figure, attacks.path / f"{name}.png")
    print(f"  {attacks.path}: records.csv, summary.json, {', '.join(pictures)}.png")


def _areas(areas):
    """Areas under the distortion curves with 95 % intervals over pairs; first in the summary."""
    import numpy as np

    from seatbelt_tf.evaluation import intervals

    attack, blending = (values[np.isfinite(values)] for values in areas)
    if not len(attack):
        return {}
    named = {
        "area_above_blending": attack - blending,
        "attack_area": attack,
        "blending_area": blending,
    }
    return {
        name: dict(
            zip(("mean", "lower", "upper"), intervals.bootstrap_interval(values), strict=True)
        )
        for name, values in named.items()
    }


def _distortion(records, blending):
    import numpy as np

    from seatbelt_tf import figures
    from seatbelt_tf.evaluation import distortion

    norms = np.linspace(0, 1, 41)
    attack, blending = distortion.curves(records, blending, norms)
    return figures.distortion_curves(
        norms, {"attack": attack.mean(axis=0), "blending": blending.mean(axis=0)}
    )


def _panel(attacks, records):
    import numpy as np

    from seatbelt_tf import figures

    rows = [
        np.flatnonzero(records["pair"] == pair)[
            np.argmin(np.abs(np.log(attacks.weights) - np.log(weight)))
        ]
        for pair in range(min(3, len(attacks.images)))
        for weight in DRAWN_WEIGHTS
    ]
    pairs = records["pair"][rows]
    images, targets = attacks.images[pairs], attacks.targets[pairs]
    adversarial = records["adversarial"][rows]
    model = attacks.victim
    return figures.attack_panel(
        images,
        model(images).numpy(),
        adversarial,
        model(adversarial).numpy(),
        targets,
        model(targets).numpy(),
        labels=[f"λ = {records['weight'][row]:.3g}" for row in rows],
        title=f"{attacks.options['objective']}, layers: {attacks.options['layers']}",
    )


if __name__ == "__main__":
    program.start(main, DESCRIPTION)
