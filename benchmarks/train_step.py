"""Times a training step against PyTorch and against the machine's matrix-product peak.

    python -m benchmarks.train_step --batch_size=1024 --json=train_step.json

Ours is `SeatbeltVAE.train_step` in a `tf.function` of several steps a call, with everything that
`fit` does in a step: the check of the pixels, the objective, Adam and the metrics. PyTorch's is
`benchmarks.torch_peer`, without metrics, in the fastest of several settings tried first. Both get
the same batch and threads, in one process, by turns. Before anything is timed, both must give the
same loss and gradients from the same weights and noise.
"""

import datetime
import importlib.metadata
import importlib.util
import math
import os
import platform
import statistics
import sys
import time

import numpy as np

from benchmarks import command_line
from benchmarks.command_line import positive
from benchmarks.models import compiled_model
from benchmarks.operations import step_flops
from seatbelt_tf import storage
from trainers import program

PROGRAM = "python -m benchmarks.train_step"
DATASETS = {1: "dsprites", 3: "celeb_a"}
CHECK_IMAGES = 16
CHECK_DRAWS = 5
TOLERANCE = 1e-4
PEAK_SIZES = (1024, 2048, 4096)
_EAGER = {"adam": "fused", "channels_last": True, "compiled": False, "keep_memory": False}
TORCH_SETTINGS = {
    "channels_last, fused Adam": _EAGER,
    "channels_last, foreach Adam": {**_EAGER, "adam": "foreach"},
    "contiguous, fused Adam": {**_EAGER, "channels_last": False},
    "compiled, channels_last, fused Adam": {**_EAGER, "compiled": True},
    "memory kept, channels_last, fused Adam": {**_EAGER, "keep_memory": True},
    "memory kept, compiled, channels_last, fused Adam": {
        **_EAGER,
        "compiled": True,
        "keep_memory": True,
    },
}


def parse_arguments():
    parser = command_line.parser("train_step", __doc__)
    parser.add_argument("--batch_size", type=positive, default=1024, help="images a step")
    parser.add_argument("--layers", type=int, choices=range(1, 6), default=1, help="L")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1, help="of an image")
    parser.add_argument("--image_size", type=int, choices=(32, 64), default=64, help="H and W")
    parser.add_argument("--turns", type=positive, default=5, help="of each step")
    parser.add_argument("--steps", type=positive, default=5, help="steps a turn")
    parser.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="of ours; with mixed_bfloat16 PyTorch is timed in float32 and under autocast",
    )
    parser.add_argument(
        "--threads", type=positive, default=len(os.sched_getaffinity(0)), help="of each step"
    )
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    arguments = parser.parse_args()
    if arguments.layers > 4 and arguments.channels == 3:
        parser.error("argument --layers: the paper's sizes for three channels have 4 layers")
    return arguments


def network_sizes(arguments):
    """Image shape, filters, latent sizes and widths of the conditional MLPs."""
    from seatbelt_tf import presets

    preset = presets.preset_sizes(DATASETS[arguments.channels], arguments.layers)
    shape = (arguments.image_size, arguments.image_size, arguments.channels)
    return shape, presets.filters_for(shape), preset.latent_dims, presets.HIDDEN_SIZES


def make_model(arguments, precision):
    """Our compiled model."""
    shape, _, dims, _ = network_sizes(arguments)
    return compiled_model(shape, dims, precision)


def make_our_step(model, images):
    """A function of a number of steps that trains `model` on one batch, like the peer's."""
    import tensorflow as tf

    @tf.function
    def train(images, steps):
        for _ in tf.range(steps):
            model.train_step((images,))

    images = tf.constant(images)

    def run(steps):
        start = time.perf_counter()
        train(images, tf.constant(steps))
        model.optimizer.iterations.numpy()
        return time.perf_counter() - start

    return run


def make_peer(arguments, model):
    """A `Peer` with the weights of `model`, and the pairs of (variable, parameter)."""
    import torch

    from benchmarks import torch_peer

    shape, filters, dims, widths = network_sizes(arguments)
    peer = torch_peer.Peer(
        shape, filters, dims, widths, model.beta, model.free_bits, model.likelihood_scale
    )
    pairs = []
    for name in (
        "encoder",
        "decoder",
        "posterior_networks",
        "posterior_heads",
        "prior_networks",
        "prior_heads",
    ):
        part = getattr(model, name)
        parts = part if isinstance(part, (list, tuple)) else [part]
        variables = [variable for each in parts for variable in each.trainable_variables]
        pairs += zip(variables, getattr(peer, name).parameters(), strict=True)
    for variable, parameter in pairs:
        parameter.data = torch.tensor(as_torch(variable.numpy()))
    return peer, pairs


def as_torch(array):
    """Keras's layout of a kernel or bias in PyTorch's: output (or transposed input) first."""
    return np.ascontiguousarray(array.transpose((3, 2, 0, 1) if array.ndim == 4 else None))


def difference(arguments, images):
    """The largest relative difference of loss and gradients between the implementations.

    Where rounding puts one activation on the other side of a (leaky) ReLU's kink, the gradients
    of two correct implementations differ by up to 1e-2. That is a matter of luck, a mistake is
    not, so the smallest result of several draws of the noise counts.
    """
    import torch

    generator = np.random.default_rng(1)
    model = make_model(arguments, "float32")
    # Posteriors start narrow, where nothing overlaps and TC has hardly a gradient.
    for head in model.posterior_heads:
        kernel = 0.02 * generator.standard_normal(head.raw_stddev.kernel.shape)
        head.raw_stddev.kernel.assign(kernel.astype(np.float32))
        head.raw_stddev.bias.assign(np.zeros(head.units, np.float32))
    peer, pairs = make_peer(arguments, model)
    images = images[:CHECK_IMAGES]
    torch_images = torch.tensor(images.transpose(0, 3, 1, 2))
    smallest = math.inf
    for _ in range(CHECK_DRAWS):
        noise = [
            generator.standard_normal((len(images), units)).astype(np.float32)
            for units in model.latent_dims
        ]
        ours = our_loss_and_gradients(model, pairs, images, noise)
        peer.zero_grad()
        loss = peer(torch_images, [torch.tensor(each) for each in noise])
        loss.backward()
        theirs = [loss.detach().numpy(), *(parameter.grad.numpy() for _, parameter in pairs)]
        largest = max(
            np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(ours, theirs, strict=True)
        )
        smallest = min(smallest, float(largest))
        if smallest < TOLERANCE:
            break
    return smallest


def our_loss_and_gradients(model, pairs, images, noise):
    """What `train_step` differentiates, with given noise: loss and gradients, PyTorch's layout."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model._objective(tf.constant(images), noise, training=True).loss
    gradients = tape.gradient(loss, [variable for variable, _ in pairs])
    return [loss.numpy(), *(as_torch(gradient.numpy()) for gradient in gradients)]


def matrix_product_rates():
    """Float32 matrix-product rates by library and size, GFLOP/s: one measurement of each."""
    import tensorflow as tf
    import torch

    rates = {}
    for size in PEAK_SIZES:
        matrix = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
        left, torch_left = tf.constant(matrix), torch.tensor(matrix)
        for name, product in (
            ("tf.matmul", lambda left=left: tf.matmul(left, left)[0, 0].numpy()),
            ("torch.mm", lambda left=torch_left: torch.mm(left, left)[0, 0].item()),
        ):
            product()
            start = time.perf_counter()
            product()
            rates[f"{name} {size}"] = 2e-9 * size**3 / (time.perf_counter() - start)
    return rates


def best_torch_step(arguments, images, autocast):
    """The fastest of `TORCH_SETTINGS` by a short trial of each: (name, run, images/s by name)."""
    import torch

    from benchmarks import torch_peer

    batch = torch.tensor(images.transpose(0, 3, 1, 2))
    model = make_model(arguments, "float32")
    rates, runs = {}, {}
    for name, setting in TORCH_SETTINGS.items():
        peer, _ = make_peer(arguments, model)
        run = torch_peer.make_step(peer, batch, autocast=autocast, **setting)
        try:
            run(2)
        except torch._inductor.exc.InductorError as error:
            # A machine may lack the C++ compiler that torch.compile needs.
            print(f"PyTorch, {name}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        rates[name] = len(images) / min(run(1) for _ in range(3))
        runs[name] = run
    best = max(rates, key=rates.get)
    return best, runs[best], rates


def describe_machine(arguments):
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor(),
        "cpus": os.cpu_count(),
        "threads": arguments.threads,
        "load": os.getloadavg(),
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in ("tensorflow", "keras", "torch", "numpy")
            },
        },
    }


def measure(arguments, runs):
    """Images/s of every turn by implementation, and the matrix-product rates of every turn."""
    rates, products = {name: [] for name in runs}, {}
    for run in runs.values():
        run(2)
    for _ in range(arguments.turns):
        for name, rate in matrix_product_rates().items():
            products[name] = max(rate, products.get(name, 0.0))
        for name, run in runs.items():
            rates[name].append(arguments.batch_size * arguments.steps / run(arguments.steps))
    return rates, products


def summarise(arguments, rates, products):
    """A row for every implementation: medians, spread, ratio of ours to it, share of the peak."""
    shape, _, dims, _ = network_sizes(arguments)
    flops = step_flops(shape, dims)
    peak = max(products.values())
    ours = statistics.median(next(iter(rates.values())))
    rows = []
    for name, turns in rates.items():
        median = statistics.median(turns)
        rows.append(
            {
                "name": name,
                "images_per_second": round(median, 1),
                "lowest": round(min(turns), 1),
                "highest": round(max(turns), 1),
                "ours_over_this": round(ours / median, 3),
                "gflops": round(median * flops / 1e9, 1),
                "share_of_float32_peak": round(median * flops / 1e9 / peak, 3),
            }
        )
    return {"mflop_per_image": flops / 1e6, "peak_gflops": peak, "rows": rows}


def print_table(summary):
    print(f"{'':34}{'images/s':>9}{'(range)':>17}{'ours/this':>11}{'GFLOP/s':>9}{'of peak':>9}")
    for row in summary["rows"]:
        spread = f"({row['lowest']:,.0f} to {row['highest']:,.0f})"
        print(
            f"{row['name']:34}{row['images_per_second']:9,.0f}{spread:>17}"
            f"{row['ours_over_this']:11.2f}{row['gflops']:9.0f}"
            f"{row['share_of_float32_peak']:9.0%}"
        )
    print(
        f"{summary['mflop_per_image']:.1f} MFLOP an image; largest float32 matrix-product rate "
        f"{summary['peak_gflops']:.0f} GFLOP/s"
    )


def main():
    arguments = parse_arguments()
    if importlib.util.find_spec("torch") is None:
        program.fail(PROGRAM, "PyTorch is not installed: pip install .[benchmarks]")
    program.import_tensorflow()
    import tensorflow as tf
    import torch

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    machine = describe_machine(arguments)
    shape = (arguments.image_size, arguments.image_size, arguments.channels)
    is_bright = np.random.default_rng(0).random((arguments.batch_size, *shape)) < 0.1
    images = np.where(is_bright, 1, -1).astype(np.float32)
    largest = difference(arguments, images)
    if not largest < TOLERANCE:
        message = f"loss or gradients differ by {largest:.1e} (relative); nothing was timed"
        program.fail(PROGRAM, message)
    print(f"same loss and gradients: largest relative difference {largest:.1e}", flush=True)

    model = make_model(arguments, arguments.precision)
    runs = {f"ours, {arguments.precision}": make_our_step(model, images)}
    trials = {}
    for autocast in (False, True)[: 1 if arguments.precision == "float32" else 2]:
        label = "PyTorch, " + ("bfloat16 autocast" if autocast else "float32")
        best, run, rates = best_torch_step(arguments, images, autocast)
        runs[label] = run
        trials[label] = {name: round(rate, 1) for name, rate in rates.items()}
        print(f"{label}: fastest with {best}", flush=True)
    rates, products = measure(arguments, runs)
    summary = summarise(arguments, rates, products)
    print_table(summary)
    if arguments.json:
        report = {
            "arguments": vars(arguments),
            "machine": {**machine, "load_after": os.getloadavg()},
            "largest_relative_difference": largest,
            "pytorch_trials_images_per_second": trials,
            "turns_images_per_second": rates,
            "matrix_products_gflops": products,
            **summary,
        }
        storage.write_json(arguments.json, report)


if __name__ == "__main__":
    main()
