"""Writes a SavedModel for TF Serving: `python -m export.saved_model --help`."""

from absl import flags

from export import publish
from seatbelt_tf import checks, runs
from trainers import program

DESCRIPTION = """
Writes the model of a run as the next version (1, 2, 3 …) under a directory that TF Serving serves,
with warm-up requests, a model card and, beside the versions, models.config and batching.config.

Example:
  PROGRAM --run=runs/sprites --model_dir=models/seatbelt
"""

FLAGS = flags.FLAGS
flags.DEFINE_string("run", None, "Run directory of a trained model.")
flags.DEFINE_string("model_dir", None, "Directory of the versions, named as the model.")


def main():
    """Exports and prints where to."""
    if not FLAGS.run:
        raise checks.invalid("run", "--run=DIRECTORY, made by trainers.train", FLAGS.run)
    if not FLAGS.model_dir:
        raise checks.invalid("model_dir", "--model_dir=DIRECTORY", FLAGS.model_dir)
    run = runs.Run(FLAGS.run)
    publish.check_run(run)
    publish.check_place(FLAGS.model_dir)

    program.import_tensorflow()
    from export import exporter, warmup

    version = exporter.export_run(run, FLAGS.model_dir)
    print(f"{version}: loaded and run by TF Serving's loader")
    if not warmup.is_possible():
        print("warning: no warm-up requests: they need pip install 'seatbelt-tf[export]'")


if __name__ == "__main__":
    program.start(main, DESCRIPTION)
