"""Flags for the defences: --defence=NAME[,NAME] and an option each, from their settings."""

from absl import flags

from seatbelt_tf import checks
from seatbelt_tf.defences import settings

FLAGS = flags.FLAGS
# They are the calling program's own, for --help and --resume.
flags.disclaim_key_flags()
_MEANINGS = {
    "attack": f"What the training's attack raises: {', '.join(settings.ATTACKS)}.",
    "bound": "Lipschitz constant of the whole reconstruction.",
    "chain_steps": "Steps of Hamiltonian Monte Carlo.",
    "latent_scale": "Lipschitz constant of the posterior means.",
    "leapfrog_steps": "Gradients a step of Hamiltonian Monte Carlo.",
    "max_stddev": "Largest posterior standard deviation.",
    "min_stddev": "Least posterior standard deviation.",
    "noise": "Standard deviation of the noise on the pixels that the encoder sees.",
    "radius": "L2 radius of the training's attack, pixels in [-1, 1].",
    "step_size": "Of Hamiltonian Monte Carlo, in posterior standard deviations.",
    "steps": "Gradients of the training's attack.",
    "weight": "Of the defence's term; for adversarial, the attacked images' share of the loss.",
}


def define():
    """Defines the flags, in the program that calls this."""
    flags.DEFINE_list("defence", None, f"Some of {', '.join(settings.DEFAULTS)}.")
    for option, meaning in _MEANINGS.items():
        users = {name: o[option] for name, o in settings.DEFAULTS.items() if option in o}
        kind = {int: flags.DEFINE_integer, str: flags.DEFINE_string}.get(
            type(next(iter(users.values()))), flags.DEFINE_float
        )
        defaults = ", ".join(f"{value} for {name}" for name, value in users.items())
        kind(f"defence_{option}", None, f"{meaning} Default: {defaults}.")


def chosen():
    """The defences of the flags, every option checked: dict of name to options.

    Raises:
        ValueError: an unknown defence, a value out of range, or an option that none of the chosen
            defences has.
    """
    names = FLAGS.defence or []
    for name in names:
        checks.one_of("defence", name, settings.DEFAULTS)
    given = {
        option: FLAGS[f"defence_{option}"].value
        for option in _MEANINGS
        if FLAGS[f"defence_{option}"].value is not None
    }
    for option in given:
        if not any(option in settings.DEFAULTS[name] for name in names):
            users = [name for name, options in settings.DEFAULTS.items() if option in options]
            raise checks.invalid(
                f"defence_{option}",
                f"--defence={' or '.join(users)} beside it",
                f"{given[option]}, --defence={','.join(names)}",
            )
    return settings.check(
        "defence",
        {
            name: {o: value for o, value in given.items() if o in settings.DEFAULTS[name]}
            for name in names
        },
    )
