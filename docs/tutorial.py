"""Train a VAE and a Seatbelt-VAE, attack both, compare them, export one and query the export.

A few minutes on two cores. From the repository's root, in an environment with this package:

    python docs/tutorial.py

or cell by cell (`# %%`) in an editor that knows cells. Pictures go to runs/tutorial. The README has
the same steps as commands, with all that belongs to a serious measurement: trainers.train,
trainers.attack, trainers.evaluate, export.saved_model.
"""

# %% How much is done: QUICK only shows that everything runs, and its numbers mean nothing.
import os
import pathlib

QUICK = os.environ.get("TUTORIAL") == "quick"
STEPS, PAIRS, WEIGHTS, EVALUATIONS = (60, 2, 3, 10) if QUICK else (1500, 10, 13, 100)
PLACE = pathlib.Path("runs/tutorial")

# %% TensorFlow, without the lines that it prints when it starts.
from trainers import program

program.import_tensorflow()

import keras
import numpy as np

from export import cpp_loader, exporter
from seatbelt_tf import SeatbeltVAE, attacks, datasets, figures, runs
from seatbelt_tf.evaluation import bootstrap_interval, distortion

# %% The images: sprites, drawn on the fly, here 32×32 and grey. Pixels are from -1 to 1.
IMAGE_SIZE = 32
train_images = datasets.load("sprites", batch_size=64, image_size=IMAGE_SIZE, repeat=True)
test_batches = datasets.load("sprites", "test", batch_size=200, image_size=IMAGE_SIZE, shuffle=True)
test_images = next(iter(test_batches)).numpy()
figures.save(figures.image_grid(test_images[:32]), PLACE / "images.png")

# %% Two models with as many latent units. The first is a plain VAE: one layer and no penalty. The
# second has three layers, and the total correlation of its top one weighs β = 6 times as much: a
# Seatbelt-VAE.
IMAGES = {"image_shape": (IMAGE_SIZE, IMAGE_SIZE, 1), "dataset_size": 12_000}
OPTIONS = {
    "VAE": {**IMAGES, "latent_dims": (42,), "beta": 1.0},
    "Seatbelt-VAE": {**IMAGES, "latent_dims": (24, 12, 6), "beta": 6.0},
}
models = {}
for name, options in OPTIONS.items():
    print(f"training the {name}")
    model = models[name] = SeatbeltVAE(**options)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - STEPS // 10, warmup_target=3e-3, warmup_steps=STEPS // 10
    )
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_2=0.95))
    model.fit(train_images, steps_per_epoch=STEPS)

# %% Are they any good? A model that reconstructs nothing cannot be attacked, and means nothing:
# robustness must be read beside quality.
for name, model in models.items():
    pixels = model(test_images).numpy()
    error = np.mean(np.sum((pixels - test_images) ** 2, axis=(1, 2, 3)))
    elbo = np.mean(model.elbo(test_images))
    print(f"{name}: ELBO {elbo:,.0f} nats, squared error {error:.1f} an image")
    sheet = figures.reconstructions(test_images[:16], pixels[:16], columns=8, title=name)
    figures.save(sheet, PLACE / f"reconstructions-{name}.png")

# %% The attack. For each pair of an image x and a target x_t it looks for a small d such that the
# encoder takes x + d for x_t: it minimises λ‖d‖ + KL. A large λ keeps d small, a small one lets it
# grow. All λ of a pair make a path from "no attack" to "the target itself".
inputs, targets = test_images[:PAIRS], test_images[PAIRS : 2 * PAIRS]
pair = np.repeat(np.arange(PAIRS), WEIGHTS)
weight = np.tile(attacks.paper_weights(WEIGHTS), PAIRS)
results, records, blending = {}, {}, {}
for name, model in models.items():
    print(f"attacking the {name}: {len(pair)} attacks")
    result = results[name] = attacks.attack(
        model, inputs[pair], targets[pair], weight, pair_ids=pair, max_evaluations=EVALUATIONS
    )
    # What came of it, measured afresh: the share of the way to the target's reconstruction.
    scorer = attacks.Scorer(model)
    score = scorer(inputs[pair], targets[pair], result.adversarial)
    gap = (targets - inputs).reshape(PAIRS, -1)
    records[name] = {
        "pair": pair,
        "distortion_norm": result.distortion_norm,
        "target_distance": np.linalg.norm(gap, axis=1)[pair],
        "closed_share": score.closed_share,
    }
    # No attack at all: just mixing the target in.
    blending[name] = distortion.blending_shares(scorer, inputs, targets)

# %% Look before you count: of the first pair, the strongest attacks that move the input by at most
# a quarter, half and three quarters of the way to the target. Columns: input, its reconstruction,
# attacked input, what the model makes of it, the distortion, target, the target's reconstruction.
SIZES = (0.25, 0.5, 0.75)
for name, model in models.items():
    rows = [distortion.strongest_within(records[name], size)[0] for size in SIZES]
    adversarial = results[name].adversarial[rows]
    panel = figures.attack_panel(
        inputs[pair[rows]],
        model(inputs[pair[rows]]).numpy(),
        adversarial,
        model(adversarial).numpy(),
        targets[pair[rows]],
        model(targets[pair[rows]]).numpy(),
        labels=[f"‖d‖ {size:.0%}" for size in distortion.relative_norms(records[name])[rows]],
        title=name,
    )
    figures.save(panel, PLACE / f"attack-{name}.png")

# %% The comparison. The curve: how far towards the target a distortion of a given size goes. Losses
# of two models cannot be compared, because they change with layers, units and β; areas under these
# curves can. The area above blending is what being adversarial buys the attacker.
norms = np.linspace(0, 1, 41)
drawn = {}
for name in models:
    attacked, blended = distortion.areas(records[name], blending[name])
    above = attacked - blended
    above = above[np.isfinite(above)]
    if not len(above):
        print(f"{name}: no pair has a gap to close; train for longer")
        continue
    mean, lower, upper = bootstrap_interval(above)
    print(f"{name}: area above blending {mean:.3f} [{lower:.3f}, {upper:.3f}], {len(above)} pairs")
    attack_curves, blending_curves = distortion.curves(records[name], blending[name], norms)
    drawn[f"{name}: attack"] = attack_curves.mean(axis=0)
    drawn[f"{name}: blending"] = blending_curves.mean(axis=0)
if drawn:
    figures.save(figures.distortion_curves(norms, drawn), PLACE / "comparison.png")

# %% What this can show, and what it cannot. It shows how each model is fooled and how that is
# measured. It does not show which kind of model is more robust: one seed each, a few pairs, a few
# minutes of training, and one attack, whose failures look like robustness. Intervals that overlap
# are no ranking, whichever mean is lower, and the paper's models were trained for far longer. For a
# result that means something: trainers.evaluate, which also checks whether the attack can be
# trusted, and trainers.reproduce --experiment=comparison, over seeds.

# %% Export. A run directory is a configuration and a model: trainers.train makes one, so can we.
NAME = "Seatbelt-VAE"
run = runs.Run(PLACE / "seatbelt")
run.create(
    {
        "model": OPTIONS[NAME],
        "data": {"name": "sprites", "data_dir": None, "image_size": IMAGE_SIZE},
        "training": {"steps": STEPS, "batch_size": 64, "seed": 0},
    },
    overwrite=True,
)
run.save_model(models[NAME])
version = exporter.export_run(run, PLACE / "served" / "seatbelt")
print(f"exported: {version}")

# %% Ask the export through the C++ loader that TF Serving uses. A server answers the same to
# `export.client`: the README has its docker line.
with cpp_loader.Loader(version) as loader:
    served = loader.predict("encode", {"images": inputs})["embedding"]
local = np.concatenate([mean for mean, _ in models[NAME].encode(inputs)], axis=1)
print(f"largest difference between the export and the model: {np.abs(served - local).max():.1e}")
