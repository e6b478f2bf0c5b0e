"""Trains a model and leaves a run directory: `python -m trainers.train --help`."""

import contextlib
import os
import sys
import time

from absl import flags

from seatbelt_tf import checks, runs
from trainers import cluster as clusters
from trainers import (
    common_flags,
    listing,
    machine,
    program,
    provenance,
    terminal,
    train_flags,
)

DESCRIPTION = """
Trains a Seatbelt-VAE (or another member of its family) and leaves a run directory: the model,
checkpoints, metrics (CSV and TensorBoard), figures and a small latent attack to look at.

Examples:
  PROGRAM                                       about five minutes on two cores
  PROGRAM --dataset=celeb_a                     the paper's CelebA setting
  PROGRAM --dataset=cifar10 --data_dir=DIR --batch_size=128 --steps=2000
  PROGRAM --dataset=folder:photos               your images; subfolders are classes
  PROGRAM --list_datasets                       what there is, and how to get it
  PROGRAM --run=runs/vae --layers=1 --beta=1    a plain VAE
  PROGRAM --run=vae --resume                    goes on where it was stopped
  PROGRAM --preset=robust_pca                   principal components as encoder
  PROGRAM --defence=adversarial --defence_radius=8        trained against attacks
  PROGRAM --strategy=mirrored                   on all devices of this machine
  TF_CONFIG=… PROGRAM --strategy=multi_worker   on several: docs/scaling.md

`tensorboard --logdir=runs` shows runs while they go on, and compares them by their settings and,
once they are attacked, by their robustness.
Ctrl-C and SIGTERM finish the step, save it and say how to go on; a second one stops at once.
Whatever stops a training, bad input aside, --resume goes on from the last state that was saved.
"""

FLAGS = flags.FLAGS
train_flags.define()


def main():
    """Trains, then evaluates, draws and attacks a little."""
    if FLAGS.list_datasets:
        print(listing.describe(FLAGS.data_dir))
        return
    if FLAGS.resume and FLAGS.overwrite:
        raise ValueError("Expected --resume or --overwrite. Received both")
    if FLAGS.run == "":
        raise checks.invalid("run", "a directory's name, or no --run", repr(FLAGS.run))
    cluster = clusters.from_environment() if FLAGS.strategy == "multi_worker" else None
    is_chief = cluster is None or cluster.is_chief
    if FLAGS.resume and FLAGS.run is not None:
        # Nothing is written into a run that was not named whole.
        run = common_flags.find_run(FLAGS.run, completed=False)
        config = train_flags.resumed_configuration(run)
    else:
        config = train_flags.configuration()
        run = runs.Run(FLAGS.run or train_flags.default_run(config))
        if FLAGS.resume:
            config = train_flags.resumed_configuration(run)
        elif is_chief:
            run.check_new(FLAGS.overwrite)
    _check_strategy(config["training"], cluster)
    checks.finite_number("checkpoint_seconds", FLAGS.checkpoint_seconds, minimum=0)
    checks.finite_number("worker_timeout", FLAGS.worker_timeout, above=0)
    with run.held() if is_chief else contextlib.nullcontext():
        _run(run, config, cluster)


def _check_strategy(training, cluster):
    if FLAGS.strategy != "default" and training["xla"]:
        raise checks.invalid("xla", "false, or --strategy=default", True)
    parts = checks.positive_integer("accumulate", FLAGS.accumulate)
    workers = 1 if cluster is None else len(cluster.workers)
    if training["batch_size"] % (workers * parts):
        raise checks.invalid(
            "batch_size",
            f"a multiple of {workers} workers × {parts} parts (--accumulate)",
            training["batch_size"],
        )


def _run(run, config, cluster):
    started = time.monotonic()
    is_chief = cluster is None or cluster.is_chief
    if cluster is not None:
        # TensorFlow's services tell of every connection, and of a lost one at length.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        cluster.wait(FLAGS.worker_timeout)
    if is_chief:
        terminal.say("loading TensorFlow")
    program.import_tensorflow(deterministic=True)
    from trainers import distribution, training

    options = config["training"]
    strategy = distribution.make_strategy(
        FLAGS.strategy, options["batch_size"], FLAGS.accumulate, options["xla"]
    )
    distribution.check_agreement(strategy, config, cluster)
    if options["mixed_precision"] and not program.has_bfloat16() and is_chief:
        print("warning: no fast bfloat16 here: --mixed_precision takes longer than float32")
    # After all that may refuse the command line: with --overwrite it removes a run.
    if is_chief:
        _prepare(run, config, 1 if cluster is None else len(cluster.workers))
    model = training.train(
        run,
        config,
        strategy,
        cluster,
        accumulate=FLAGS.accumulate,
        checkpoint_seconds=FLAGS.checkpoint_seconds,
        arguments=train_flags.given_beside_configuration(),
    )
    if is_chief:
        _finish(run, config, model)
        print(f"{run.path}: done in {terminal.duration(time.monotonic() - started)}")
        again = common_flags.data_dir_again() if FLAGS.resume else []
        terminal.suggest(terminal.command("trainers.evaluate", f"--run={run.path}", *again))


def _prepare(run, config, workers):
    here = machine.describe(config["training"]["xla"], FLAGS.strategy, workers)
    if not FLAGS.resume:
        _check_readable(config["data"])
        run.create(
            {**config, "command": sys.argv, **provenance.describe(), "machine": here},
            FLAGS.overwrite,
        )
        return
    if not run.check_resumable():
        print("no checkpoint was written yet: starting at step 0")
    for difference in machine.differences(config.get("machine", {}), here):
        print(f"warning: the last bits may differ from an uninterrupted run's: {difference}")


def _check_readable(data):
    """Raises ValueError when images cannot be read, before --overwrite removes a run for them."""
    from trainers import splits

    for split in ("train", "validation", *(["test"] if FLAGS.report else [])):
        splits.first(data, split, 1)


def _finish(run, config, model):
    from trainers import report, splits

    if FLAGS.report:
        report.write(run, config, model)
    for note in splits.info(config["data"]).notes:
        print(f"dataset: {note}")


if __name__ == "__main__":
    program.start(main, DESCRIPTION, [program.NOT_FINITE, program.WORKER_LOST])
