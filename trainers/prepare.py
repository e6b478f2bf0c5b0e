"""Prepares a dataset that its user brings: `python -m trainers.prepare --help`."""

import errno
import os
import sys

from absl import flags

from seatbelt_tf import checks, datasets
from trainers import common_flags, program, terminal

DESCRIPTION = """
Turns files that you have downloaded into a TFDS dataset that trainers.train can use. Needed for
chairs and faces3d, which nobody may or does serve in a ready form; `python -m trainers.train
--list_datasets` says where their files come from.

Examples:
  PROGRAM --dataset=chairs --manual_dir=~/Downloads
  PROGRAM --dataset=faces3d --manual_dir=~/Downloads --data_dir=/data/tfds

Nothing is extracted or downloaded. An interrupted preparation leaves nothing that would be taken
for a dataset; start it again.
"""

MANUAL = ("chairs", "faces3d")

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, f"One of {', '.join(MANUAL)}.")
common_flags.define_directory("manual_dir", "Directory that holds the files.")
common_flags.define_data_dir()


def main():
    """Checks the flags, prepares, says what there is now."""
    checks.one_of("dataset", FLAGS.dataset, MANUAL)
    if FLAGS.manual_dir is None:
        raise checks.invalid("manual_dir", "--manual_dir=DIR, which holds the files", None)
    manual_dir = os.path.abspath(FLAGS.manual_dir)
    if not os.path.isdir(manual_dir):
        raise checks.invalid("manual_dir", "an existing directory", repr(FLAGS.manual_dir))
    if datasets.info(FLAGS.dataset, FLAGS.data_dir).fingerprint is not None:
        datasets.check(FLAGS.dataset, FLAGS.data_dir)
        print(f"{FLAGS.dataset} is prepared already")
        _suggest()
        return
    terminal.say(f"preparing {FLAGS.dataset}: some minutes")
    program.import_tensorflow()
    import tensorflow_datasets as tfds

    from seatbelt_tf.datasets.builders import BUILDERS

    builder = BUILDERS[FLAGS.dataset](data_dir=FLAGS.data_dir)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
        )
    except (OSError, AssertionError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE):
            raise
        raise ValueError(f"{FLAGS.dataset} cannot be prepared: {error}") from error
    splits = datasets.info(FLAGS.dataset, FLAGS.data_dir).splits
    print(
        f"{FLAGS.dataset}: "
        + ", ".join(f"{split} {size:,}" for split, size in splits.items())
        + f" in {builder.data_dir}"
    )
    _suggest()


def _suggest():
    place = common_flags.data_dir_again()
    terminal.suggest(terminal.command("trainers.train", f"--dataset={FLAGS.dataset}", *place))


if __name__ == "__main__":
    program.start(main, DESCRIPTION)
