"""Writes a SavedModel for TF Serving: `python -m export.saved_model --help`."""

import pathlib
import shlex

from absl import flags

from export import publish
from seatbelt_tf import checks
from trainers import common_flags, program, terminal

DESCRIPTION = """
Writes the model of a run as the next version (1, 2, 3 …) under a directory that TF Serving serves,
with warm-up requests, a model card and, beside the versions, models.config and batching.config.

Examples:
  PROGRAM --run=sprites --model_dir=models/seatbelt   the next version
  PROGRAM --run=runs/vae --model_dir=/srv/models/vae  the server calls it vae
"""

FLAGS = flags.FLAGS
common_flags.define_run()
common_flags.define_directory("model_dir", "Directory of the versions, named as the model.")


def main():
    """Exports and prints where to."""
    run = common_flags.find_run(FLAGS.run)
    if not FLAGS.model_dir:
        raise checks.invalid("model_dir", "--model_dir=DIRECTORY", FLAGS.model_dir)
    run.check_trained()
    publish.check_place(FLAGS.model_dir)

    terminal.say(f"loading {run.path} and writing")
    program.import_tensorflow()
    from export import exporter, warmup

    def shown(requests):
        return terminal.shown(requests, "trial", "requests")

    version = exporter.export_run(run, FLAGS.model_dir, shown)
    print(f"{version}: loaded and run by TF Serving's loader")
    if not warmup.is_possible():
        print("warning: no warm-up requests: they need pip install -e '.[export]'")
    terminal.suggest(_docker(pathlib.Path(FLAGS.model_dir).absolute()))


def _docker(model_dir):
    """The command that serves a directory of versions."""
    place = f"/models/{model_dir.name}"
    ports = ("-p", "8500:8500", "-p", "8501:8501")
    config = f"--model_config_file={place}/models.config"
    volume = f"{model_dir}:{place}"
    return shlex.join(["docker", "run", *ports, "-v", volume, "tensorflow/serving", config])


if __name__ == "__main__":
    program.start(main, DESCRIPTION)
