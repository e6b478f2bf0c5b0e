"""Predicts what the paper's full study takes, from measured rates: no TensorFlow, nothing timed.

    python -m benchmarks.cost_model                     the tables of docs/scaling.md

Counted are the multiply-adds of convolutions and dense layers, two operations each. A device's time
is operations / (peak · share); the share of the peak was measured on this machine
(results/train_step.json, results/attack.json) and is assumed for a GPU.
"""

import json
import pathlib
from typing import NamedTuple

from benchmarks import command_line
from benchmarks.operations import evaluation_flops, step_flops
from seatbelt_tf import presets
from trainers.recipes import RECIPES

RESULTS = pathlib.Path(__file__).parents[1] / "results"
# Images in the published datasets; a tenth is held out.
IMAGES = {"dsprites": 737_280, "chairs": 86_366, "faces3d": 239_840, "celeb_a": 202_599}
MODELS, ATTACKS, EVALUATIONS = 10, 1500, 400
CORES = 2
# An assumption: an A100's peak for float32 in TF32, of which so small a network uses a tenth.
GPU_PEAK, GPU_SHARE = 156e12, 0.1
GPUS = 64


class Cost(NamedTuple):
    """Operations of one model: of a training image, of an attack's evaluation; training images."""

    step: float
    evaluation: float
    images: float


def cost(dataset, layers):
    """The `Cost` of the paper's model of so many layers on a dataset."""
    deepest = len(presets.PRESETS[dataset].latent_dims)
    sizes = presets.preset_sizes(dataset, min(layers, deepest))
    return Cost(
        step_flops(sizes.image_shape, sizes.latent_dims),
        evaluation_flops(sizes.image_shape, sizes.latent_dims),
        0.9 * IMAGES[dataset] * RECIPES["paper"].epochs,
    )


def measured():
    """Rates of this machine: operations a second in training and in attacks, and the peak."""
    train = json.loads((RESULTS / "train_step.json").read_text(encoding="utf-8"))
    cells = json.loads((RESULTS / "attack.json").read_text(encoding="utf-8"))["cells"]
    kind = {"run": "L4_beta6_fast", "objective": "latent_kl", "route": "lbfgs"}
    attack = next(cell for cell in cells if kind.items() <= cell.items())
    evaluations = attack["attacks"] * attack["mean_evaluations"] / attack["seconds"]
    return {
        "peak": train["peak_gflops"] * 1e9,
        "training": train["rows"][0]["gflops"] * 1e9,
        "attack": evaluations * cost("dsprites", 4).evaluation,
        "evaluations": evaluations,
    }


def table(columns, rows):
    """Rows of texts as a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def study(dataset):
    """Operations of all models of a dataset: (trainings, attacks, the longest training)."""
    costs = [cost(dataset, layers) for layers in range(1, 6) for _ in range(MODELS // 5)]
    trainings = [c.step * c.images for c in costs]
    attacks = [c.evaluation * ATTACKS * EVALUATIONS for c in costs]
    return sum(trainings), sum(attacks), max(trainings)


def main():
    command_line.parser("cost_model", __doc__).parse_args()
    rates = measured()
    print(
        f"Measured on {CORES} cores: matrix products {rates['peak'] / 1e9:,.0f} GFLOP/s; "
        f"training {rates['training'] / rates['peak']:.0%} of that; attacks "
        f"{rates['attack'] / rates['peak']:.0%} ({rates['evaluations']:,.0f} evaluations/s).\n"
    )
    rows = [
        [dataset, str(layers), f"{found.step / 1e6:,.0f}", f"{found.evaluation / 1e6:,.0f}"]
        for dataset in ("dsprites", "celeb_a")
        for layers in (1, 4)
        for found in [cost(dataset, layers)]
    ]
    print(table(["dataset", "L", "MFLOP a training image", "MFLOP an evaluation"], rows), "\n")
    rows, gpu = [], GPU_PEAK * GPU_SHARE
    totals = [0.0] * 4
    for dataset in IMAGES:
        training, attack, longest = study(dataset)
        one_core = CORES * (training / rates["training"] + attack / rates["attack"])
        one_gpu = (training + attack) / gpu
        # A training stays on one GPU; attacks divide freely.
        many = max(longest / gpu, one_gpu / GPUS)
        values = [training + attack, one_core, one_gpu, many]
        totals = [sum(pair) for pair in zip(totals, values, strict=True)]
        rows.append([dataset, *_cells(values)])
    # The datasets' studies go on beside each other.
    longest = max(study(dataset)[2] for dataset in IMAGES) / gpu
    totals[3] = max(longest, totals[2] / GPUS)
    rows.append(["all", *_cells(totals)])
    columns = ["dataset", "PFLOP", "one core, days", "one GPU, hours", f"{GPUS} GPUs, hours"]
    print(table(columns, rows))


def _cells(values):
    operations, core, gpu, many = values
    return [
        f"{operations / 1e15:,.0f}",
        f"{core / 86400:,.1f}",
        f"{gpu / 3600:,.1f}",
        f"{many / 3600:,.2f}",
    ]


if __name__ == "__main__":
    main()
