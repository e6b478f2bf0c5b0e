"""Exports a training step and an attack's evaluation as StableHLO, for any XLA device.

    python -m benchmarks.gpu_step --directory=exported            here, with TensorFlow
    python exported/time_programs.py --json=gpu.json              there, with jaxlib and NumPy alone

The first command writes a folder with everything that the second needs: the programs, their
arguments, and a copy of benchmarks/time_programs.py. The training step is `SeatbeltVAE.train_step`
as XLA gets it from `tf.function(jit_compile=True)`: all variables of model, optimizer and metrics
are arguments, the changed ones results. The attack's evaluation is the divergence of a latent
attack on all layers with its gradient by the images. XLA drops the step's assertions. What each
function first returns here is stored too, and the timer refuses to report programs that return
something else; the variables that the step changes are not compared.
"""

import json
import pathlib
import shutil

import numpy as np

from benchmarks import command_line
from benchmarks.command_line import positive
from benchmarks.models import compiled_model
from benchmarks.operations import step_flops
from seatbelt_tf import presets
from trainers import program, provenance

PRESETS = {1: "dsprites", 3: "celeb_a"}


def parse_arguments():
    parser = command_line.parser("gpu_step", __doc__)
    parser.add_argument("--directory", metavar="PATH", required=True, help="written to")
    parser.add_argument("--batch_size", type=positive, default=256, help="images a step")
    parser.add_argument("--layers", type=int, choices=range(1, 6), default=4, help="L")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1, help="of an image")
    parser.add_argument(
        "--image_size", type=int, choices=(32, 64, 128, 256), default=64, help="H and W"
    )
    arguments = parser.parse_args()
    if arguments.layers > 4 and arguments.channels == 3:
        parser.error("argument --layers: the paper's sizes for three channels have 4 layers")
    return arguments


def export(function, *arguments):
    """What a compiled function computes: its StableHLO, its flat arguments and its results."""
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=True, autograph=False)
    text = compiled.experimental_get_compiler_ir(*arguments)(stage="stablehlo")
    concrete = compiled.get_concrete_function(*arguments)
    # Variables are captured by their handles; XLA gets their values, in the same order.
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    captured = [
        by_handle[id(tensor)].numpy() if id(tensor) in by_handle else tensor.numpy()
        for tensor in concrete.captured_inputs
    ]
    values = [tensor.numpy() for tensor in tf.nest.flatten(arguments)] + captured
    results = [tensor.numpy() for tensor in tf.nest.flatten(compiled(*arguments))]
    return text, values, results


def main():
    arguments = parse_arguments()
    program.import_tensorflow()
    import tensorflow as tf

    from seatbelt_tf.attacks.problem import Problem

    dims = presets.preset_sizes(PRESETS[arguments.channels], arguments.layers).latent_dims
    shape = (arguments.image_size, arguments.image_size, arguments.channels)
    model = compiled_model(shape, dims)
    generator = np.random.default_rng(0)
    images, targets = (
        tf.constant(generator.uniform(-1, 1, (arguments.batch_size, *shape)), tf.float32)
        for _ in range(2)
    )
    attack = Problem(model, "latent_kl", "all", "mean", 1, 0)
    prepared = attack.prepare(targets)
    flops = step_flops(shape, dims)
    directory = pathlib.Path(arguments.directory)
    directory.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, function, inputs in (
        # The evaluation first: the step changes the model.
        ("attack_evaluation", attack.value_and_gradient, (images, prepared)),
        ("train_step", lambda batch: model.train_step((batch,)), (images,)),
    ):
        text, values, results = export(function, *inputs)
        (directory / f"{name}.mlir").write_text(text, encoding="utf-8")
        np.savez(directory / f"{name}.npz", *values)
        np.savez(directory / f"{name}_expected.npz", *results)
        entries[name] = {"arguments": len(values), "megabytes": sum(v.nbytes for v in values) / 1e6}
        print(f"{name}: {len(text):,} characters, {len(values)} arguments, {len(results)} results")
    settings = {
        **vars(arguments),
        "latent_dims": dims,
        "train_step_flops": flops * arguments.batch_size,
        "programs": entries,
        **provenance.describe(),
    }
    (directory / "programs.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    shutil.copy(pathlib.Path(__file__).with_name("time_programs.py"), directory)


if __name__ == "__main__":
    main()
