"""The flags of programs that attack the model of a run: which run, which attacks, how many."""

from absl import flags

from seatbelt_tf import checks, datasets, presets
from trainers import common_flags

FLAGS = flags.FLAGS
# They are the calling program's own, for --help.
flags.disclaim_key_flags()
_COUNTS = ("pairs", "weights", "max_evaluations")


def define(objectives):
    """Defines the flags, in the program that calls this.

    Args:
        objectives: the default of --objective.
    """
    common_flags.define_run()
    flags.DEFINE_list("objective", objectives, f"Some of {', '.join(presets.ATTACK_OBJECTIVES)}.")
    flags.DEFINE_integer("pairs", 10, "Pairs of test images, chosen by the seed.")
    flags.DEFINE_integer("weights", 50, "Weights λ, geometric from 2^-20 to 2^20.")
    flags.DEFINE_integer(
        "max_evaluations",
        400,
        "Evaluations allowed to each start of an attack; from what a neighbouring λ found, a half "
        "to an eighth of them.",
    )


def usual_ancestors(config):
    """How the latents above are taken unless told: averaged over draws where inference is random.

    An attacker who knew the draws of a Markov chain would be none that a user has to fear.

    Args:
        config: a run's configuration.
    """
    return "sample" if "mcmc" in (config["model"].get("defences") or {}) else "mean"


def check_data(config):
    """The data part of a run's configuration, read from --data_dir where that is given: a dict.

    Raises:
        ValueError: the dataset is not there.
    """
    data = {**config["data"], "data_dir": FLAGS.data_dir or config["data"]["data_dir"]}
    datasets.check(data["name"], data["data_dir"], max_unreadable=data.get("max_unreadable", 0))
    return data


def chosen_run(*counts):
    """The `runs.Run` of the flags, trained, after all of them are checked.

    Args:
        counts: names of the calling program's further flags that must be positive.

    Raises:
        ValueError: a flag is out of range or there is no trained model.
    """
    run = common_flags.find_run(FLAGS.run)
    for name in (*_COUNTS, *counts):
        checks.positive_integer(name, FLAGS[name].value)
    checks.seed("seed", FLAGS.seed)
    if not FLAGS.objective:
        raise checks.invalid("objective", "at least one", "none")
    for objective in FLAGS.objective:
        checks.one_of("objective", objective, presets.ATTACK_OBJECTIVES)
    run.check_trained()
    return run
