"""Attacks a trained model: `python -m trainers.attack --help`."""

from absl import flags

from seatbelt_tf import checks, presets
from trainers import battery_flags, common_flags, program, terminal

DESCRIPTION = """
Attacks the model of a run: every pair of test images × every weight λ, for each objective. Every
finished part is stored under the run's attacks/ at once; started again, the program goes on where
it was.

Examples:
  PROGRAM --run=sprites
  PROGRAM --run=sprites --objective=latent_kl,latent_w2,output --pairs=20
  PROGRAM --run=sprites --layers=top --ancestors=sample --strict
"""

# Below these a battery is for a look.
FEWEST_PAIRS, FEWEST_WEIGHTS = 5, 12

FLAGS = flags.FLAGS
battery_flags.define(["latent_kl"])
flags.DEFINE_string(
    "layers",
    presets.USUAL_ATTACK["layers"],
    "all, top, bottom, or numbers from 0, the bottom: 0,2.",
)
flags.DEFINE_enum(
    "ancestors",
    None,
    ["mean", "sample", "fresh"],
    "mean: latents above at their means; sample: averaged over --draws of them; fresh: redrawn at "
    "every evaluation, which makes a weak attack. Default: mean; sample where inference is random "
    "(--defence=mcmc).",
)
flags.DEFINE_integer(
    "draws", presets.USUAL_ATTACK["draws"], "Draws of the ancestors, for sample and fresh."
)
flags.DEFINE_integer(
    "restarts", presets.USUAL_ATTACK["restarts"], "Further random starts of each attack."
)
common_flags.define_seed()
common_flags.define_data_dir("the run's")
flags.DEFINE_bool("strict", False, "Exit with status 3 when a diagnostic fires.")


def main():
    """Runs the batteries, draws them and prints what they found."""
    run = battery_flags.chosen_run("draws")
    config = run.config()
    layers = _layers(len(config["model"]["latent_dims"]))
    ancestors = FLAGS.ancestors or battery_flags.usual_ancestors(config)
    options = {
        "layers": layers,
        "ancestors": ancestors,
        # What draws nothing is the same attack whatever --draws says.
        "draws": FLAGS["draws"].default if ancestors == "mean" else FLAGS.draws,
        "max_evaluations": FLAGS.max_evaluations,
        "restarts": checks.whole_number("restarts", FLAGS.restarts),
        "seed": FLAGS.seed,
    }
    data = battery_flags.check_data(config)

    terminal.say(f"loading {run.path}")
    program.import_tensorflow(exact=True)
    from trainers import batteries, events

    # Networks may be trained in bfloat16; an attacker computes in float32.
    model = run.load_model(dtype="float32")
    ends = batteries.pairs(data, FLAGS.pairs, FLAGS.seed)
    opened = batteries.open_batteries(
        run, config, model, ends, FLAGS.weights, FLAGS.objective, options
    )
    fired = False
    for attacks in opened:
        blending = batteries.blending_shares(attacks)
        records, diagnoses = batteries.solve(attacks, blending)
        summary = batteries.write(attacks, records, diagnoses, blending)
        _print(summary, diagnoses)
        drawn = ", ".join(f"{name}.png" for name in batteries.draw(attacks, records, blending))
        events.write_battery(run, config, attacks, summary, diagnoses, attacks.path / "panel.png")
        print(f"  {attacks.path}: records.csv, summary.json, {drawn}")
        fired |= any(diagnosis.fired for diagnosis in diagnoses)
    if FLAGS.pairs < FEWEST_PAIRS or FLAGS.weights < FEWEST_WEIGHTS:
        print(
            f"{FLAGS.pairs} pairs and {FLAGS.weights} weights say little: intervals are of so many "
            f"pairs, and most checks need {FEWEST_PAIRS} pairs or {FEWEST_WEIGHTS} weights and more"
        )
    print("what the numbers and checks mean: docs/reading-a-report.md")
    again = common_flags.data_dir_again()
    terminal.suggest(terminal.command("trainers.evaluate", f"--run={run.path}", *again))
    if fired and FLAGS.strict:
        raise SystemExit(program.FIRED)


def _layers(depth):
    """--layers as `attack` takes it, for a model of that many layers."""
    chosen = FLAGS.layers
    if chosen in ("all", "top", "bottom"):
        return chosen
    numbers = chosen.split(",")
    if all(number.isdecimal() and int(number) < depth for number in numbers):
        return tuple(sorted({int(number) for number in numbers}))
    raise checks.invalid(
        "layers", f"all, top, bottom or numbers from 0 to {depth - 1}, as in 0,1", chosen
    )


def _print(summary, diagnoses):
    from trainers.evaluation import output

    shares = []
    for name, value in summary.items():
        if isinstance(value, dict):
            print(f"  {name:32}{output.Row(name, **value)}")
        elif name.startswith("share_"):
            words = name.removeprefix("share_").replace("_", " ")
            shares += [f"{words} {value:.0%}"] if value else []
        else:
            print(f"  {name:32}{output.number(value)}")
    # Whether that was too early is for the checks to say.
    print(f"  {'how the attacks ended':32}{', '.join(shares)}")
    for diagnosis in diagnoses:
        mark = terminal.alarm("FIRED") if diagnosis.fired else "ok"
        print(f"  {diagnosis.name:32}{output.number(diagnosis.value)}  {mark}", end="")
        print(f": {diagnosis.meaning}" if diagnosis.fired else "")


if __name__ == "__main__":
    program.start(main, DESCRIPTION, [program.FIRED])
