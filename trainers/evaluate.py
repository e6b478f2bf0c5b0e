"""Evaluates a trained model in full: `python -m trainers.evaluate --help`."""

import sys
import time

from absl import flags

from seatbelt_tf import checks, presets
from trainers import battery_flags, common_flags, machine, program, provenance, terminal

DESCRIPTION = """
Everything about the model of a run: clean quality, attacks with their diagnostics, robustness to
noise, overlap, distances, the mutual information gap of datasets with factors, and classifiers
behind the model for datasets with classes. Writes report.html (one page with everything in it, to
hand on), report.json, report.csv, report.md and figures under the run's evaluation/, and finished
attacks under attacks/, where trainers.attack finds them, too. Started again, the program goes on
where it was.

Examples:
  PROGRAM --run=sprites
  PROGRAM --run=sprites --objective=latent_kl,latent_w2,output --pairs=20
  PROGRAM --run=cifar10 --attacked=500 --data_dir=data
"""

FLAGS = flags.FLAGS
battery_flags.define(["latent_kl", "output"])
flags.DEFINE_integer(
    "images", 4000, "Test images that clean quality, overlap, certificates and MIG are of."
)
flags.DEFINE_integer("attacked", 200, "Test images attacked to mislead classifiers.")
common_flags.define_seed()
common_flags.define_data_dir("the run's")


def main():
    """Measures what is missing, writes the report and says where it is."""
    started = time.monotonic()
    run = battery_flags.chosen_run("images", "attacked")
    if FLAGS.images < 2:
        # Factors that vary need as many.
        raise checks.invalid("images", "an integer of at least 2", FLAGS.images)
    config = run.config()
    data = battery_flags.check_data(config)

    terminal.say(f"loading {run.path}")
    program.import_tensorflow(exact=True)
    from trainers import events, splits
    from trainers.evaluation import attack_sections, output, parts, sections

    # Networks may be trained in bfloat16; an attacker computes in float32.
    subject = parts.Subject(run, data, run.load_model(dtype="float32"))
    images = min(FLAGS.images, splits.info(data).splits["test"])
    found, blending = _attack(subject, config)
    told = [
        sections.clean(subject, parts.clean(subject, images)),
        *attack_sections.attacks(found, blending),
        sections.noise(parts.noise(subject, images, FLAGS.seed)),
        sections.overlap(subject, parts.overlap(subject, images)),
    ]
    proven = parts.certificates(subject, images)
    if proven is not None:
        told.append(sections.certificates(proven))
    gap = parts.mutual_information_gap(subject, images)
    if gap is not None:
        told.append(sections.mutual_information_gap(gap))
    ancestors = battery_flags.usual_ancestors(config)
    classified = parts.classifiers(
        subject, FLAGS.attacked, FLAGS.max_evaluations, FLAGS.seed, ancestors
    )
    if classified is not None:
        told.append(sections.downstream(classified))
    headline = attack_sections.headline(found)
    terminal.say("writing the report")
    names = output.write(
        run.evaluation,
        f"Robustness of the run {run.path.resolve().name}",
        headline,
        sections.facts(subject.model, config),
        told,
        _provenance(run, config, time.monotonic() - started),
    )
    for one in found:
        panel = run.evaluation / f"{attack_sections.panel_name(one)}.png"
        events.write_battery(run, config, one.battery, one.summary, one.diagnoses, panel)
    for sentence in headline:
        print(f"  {sentence}")
    print(f"  {run.evaluation}: {', '.join(names)}")
    model_dir = f"--model_dir=models/{run.path.resolve().name}"
    terminal.suggest(terminal.command("export.saved_model", f"--run={run.path}", model_dir))


def _attack(subject, config):
    """All batteries on the same pairs, and the blending shares of those pairs."""
    from trainers import batteries, kept
    from trainers.evaluation import parts
    from trainers.evaluation.attack_sections import Attacked

    ends = batteries.pairs(subject.data, FLAGS.pairs, FLAGS.seed)
    options = {
        **presets.USUAL_ATTACK,
        "ancestors": battery_flags.usual_ancestors(config),
        "max_evaluations": FLAGS.max_evaluations,
        "seed": FLAGS.seed,
    }
    opened = batteries.open_batteries(
        subject.run, config, subject.model, ends, FLAGS.weights, FLAGS.objective, options
    )
    settings = {"pairs": FLAGS.pairs, "seed": FLAGS.seed}
    blending = kept.once(
        subject.run,
        "blending",
        settings,
        ["shares"],
        lambda: {"shares": batteries.blending_shares(opened[0])},
    )["shares"]
    found = []
    for attacks in opened:
        records, diagnoses = batteries.solve(attacks, blending)
        summary = batteries.write(attacks, records, diagnoses, blending)
        distances = parts.battery_distances(subject, attacks, records)
        found.append(Attacked(attacks, records, summary, diagnoses, distances))
    return found, blending


def _provenance(run, config, seconds):
    """How the report was made: text by text."""
    versions = provenance.describe()["versions"]
    command = config.get("command")
    return {
        "command": program.told(sys.argv),
        "wall time of this call": f"{seconds:,.0f} s; what an earlier call left is not counted",
        "seed": str(FLAGS.seed),
        "versions": ", ".join(f"{name} {text}" for name, text in versions.items()),
        "machine": machine.describe(xla=False)["processor"],
        "weights (SHA-256, first digits)": run.model_digest(),
        "trained by": program.told(command) if command else "unknown",
    }


if __name__ == "__main__":
    program.start(main, DESCRIPTION)
