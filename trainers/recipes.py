"""How to train: the paper's recipe, ours for two cores and five minutes, and robust models."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """Settings of the optimisation.

    Attributes:
        batch_size: images a step, M.
        learning_rate: Adam's, before decay.
        beta_2: Adam's decay of the squared gradients.
        warmup_steps: steps of linear growth to it; cosine decay to 0 follows.
        epochs: passes over the training images; None when `steps` says how long.
        steps: number of steps, or None.
    """

    batch_size: int
    learning_rate: float
    beta_2: float
    warmup_steps: int
    epochs: int | None
    steps: int | None


RECIPES = {
    # Appendix G names Adam, 1e-3, cosine decay and 1,024; it does not say how long.
    "paper": Recipe(1024, 1e-3, 0.999, 0, 100, None),
    # Small batches, a higher rate and a shorter memory of it: docs/decisions.md has the comparison.
    "fast": Recipe(64, 3e-3, 0.95, 400, None, 3600),
}
DEFAULT_PRESET = {"sprites": "fast", "folder": "fast"}
DEFAULT_BETA = {"celeb_a": "20"}
# Defences with the dataset's usual recipe: see docs/defences.md.
ROBUST = {
    "robust_pca": {"beta": "1", "defence": "pca"},
    "robust_adversarial": {"beta": "1", "defence": "adversarial"},
}
# Of robust_pca: four times what a single layer had in the trial of greyscale and of colour images.
ROBUST_UNITS = {1: 64, 3: 256}
PRESETS = (*RECIPES, *ROBUST)


def settings(dataset, preset, channels):
    """What a preset says, or the dataset's default: ours for the built-in one and folders.

    Args:
        dataset: its name.
        preset: one of `PRESETS`, or None for the dataset's default.
        channels: of its images.

    Returns:
        (preset name, `Recipe`, flags of trainers.train that are its own as {name: text}).
    """
    usual = DEFAULT_PRESET.get(dataset.partition(":")[0], "paper")
    preset = preset or usual
    if preset in ROBUST:
        own = dict(ROBUST[preset])
        if preset == "robust_pca":
            own["latent_dims"] = str(ROBUST_UNITS[channels])
        return preset, RECIPES[usual], own
    return preset, RECIPES[preset], {"beta": DEFAULT_BETA.get(dataset, "6")}


def sizes_of(dataset, channels):
    """The name in `presets.PRESETS` whose layer sizes a dataset takes."""
    if dataset.startswith("folder:"):
        return "sprites" if channels == 1 else "celeb_a"
    return dataset
