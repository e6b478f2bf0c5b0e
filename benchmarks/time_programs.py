"""Times exported StableHLO programs on an XLA device; needs jaxlib and NumPy only.

    python time_programs.py                       on the processor
    python time_programs.py --plugin=cuda=PATH    a PJRT plugin's shared library, xla_cuda_plugin.so

The programs lie beside this file (benchmarks/gpu_step.py wrote them). Their first results are
compared with TensorFlow's before anything is timed.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import sys
import time

import jaxlib.version
import numpy as np
from jaxlib import xla_client

HERE = pathlib.Path(__file__).parent
NAMES = ("train_step", "attack_evaluation")
# float32, other orders of summation; gradients through many layers.
TOLERANCE = 1e-3


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="examples:\n" + "\n".join(line[2:] for line in __doc__.split("\n")[2:4]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--directory", default=HERE, type=pathlib.Path, help="with the programs (default: its own)"
    )
    parser.add_argument(
        "--plugin", metavar="NAME=PATH", help="of another device (default: the processor)"
    )
    parser.add_argument("--turns", type=int, default=20, help="of each program (default: 20)")
    parser.add_argument("--json", metavar="PATH", help="also write the figures there")
    return parser.parse_args()


def make_client(plugin):
    """A PJRT client: of the processor, or of the plugin given as NAME=PATH."""
    if plugin is None:
        return xla_client.make_cpu_client()
    name, _, path = plugin.partition("=")
    if not pathlib.Path(path).is_file():
        sys.exit(f"time_programs: Expected --plugin=NAME=PATH of a shared library: {plugin!r}")
    xla_client.load_pjrt_plugin_dynamically(name, path)
    xla_client.initialize_pjrt_plugin(name)
    return xla_client.make_c_api_client(name)


def load(path):
    """The arrays of an .npz file in order."""
    with np.load(path) as archive:
        return [archive[f"arr_{place}"] for place in range(len(archive.files))]


def time_program(client, directory, name, turns):
    """Compiles, checks and times one program: dict of figures."""
    device = client.local_devices()[0]
    text = (directory / f"{name}.mlir").read_text(encoding="utf-8")
    start = time.perf_counter()
    devices = xla_client.DeviceList((device,))
    executable = client.compile_and_load(text, devices, xla_client.CompileOptions())
    compile_seconds = time.perf_counter() - start
    values = load(directory / f"{name}.npz")

    def execute():
        # Fresh ones every time: the variables are donated, so that the step changes them in place.
        arguments = [put(device, value) for value in values]
        for argument in arguments:
            argument.block_until_ready()
        start = time.perf_counter()
        results = executable.execute(arguments)
        for result in results:
            result.block_until_ready()
        return results, time.perf_counter() - start

    found, _ = execute()
    expected = load(directory / f"{name}_expected.npz")
    difference = max(
        float(np.linalg.norm(fetch(a) - b) / max(np.linalg.norm(b), 1e-30))
        for a, b in zip(found, expected, strict=False)
    )
    if not difference <= TOLERANCE:
        sys.exit(f"time_programs: {name} differs from TensorFlow by {difference:.1e}")
    seconds = [execute()[1] for _ in range(turns)]
    memory = executable.get_compiled_memory_stats()
    return {
        "compile_seconds": compile_seconds,
        "seconds": statistics.median(seconds),
        "fastest_seconds": min(seconds),
        "slowest_seconds": max(seconds),
        "turns": turns,
        "relative_difference_from_tensorflow": difference,
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "result_bytes": memory.output_size_in_bytes,
    }


def put(device, value):
    """A NumPy array on the device."""
    return xla_client.batched_device_put(
        _Abstract(value), _Placement(device), [value], [device], enable_x64=True
    )


class _Abstract:
    """What jaxlib wants to know of an array: JAX's ShapedArray without JAX."""

    def __init__(self, value):
        self.shape, self.dtype, self.weak_type = value.shape, value.dtype, False


class _Placement(xla_client.SingleDeviceSharding):
    """The same for JAX's SingleDeviceSharding."""

    memory_kind = None

    def _to_xla_hlo_sharding(self, _):
        return xla_client.HloSharding.replicate()


def fetch(result):
    """A result of the device as a NumPy array."""
    return result._single_device_array_to_np_array_did_copy()[0]


def main():
    arguments = parse_arguments()
    settings = json.loads((arguments.directory / "programs.json").read_text(encoding="utf-8"))
    client = make_client(arguments.plugin)
    figures = {
        "device": str(client.local_devices()[0]),
        "platform": f"{client.platform} {client.platform_version}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg(),
        "jaxlib": jaxlib.version.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": settings,
        "programs": {
            name: time_program(client, arguments.directory, name, arguments.turns) for name in NAMES
        },
    }
    print(table(figures))
    if arguments.json:
        text = json.dumps(figures, indent=2) + "\n"
        pathlib.Path(arguments.json).write_text(text, encoding="utf-8")
        markdown = pathlib.Path(arguments.json).with_suffix(".md")
        markdown.write_text(table(figures) + "\n", encoding="utf-8")


def table(figures):
    """The figures in Markdown."""
    settings = figures["settings"]
    batch, size = settings["batch_size"], settings["image_size"]
    lines = [
        f"Batch {batch}, images {size}×{size}×{settings['channels']}, latents "
        f"{settings['latent_dims']}, float32, {figures['device']} ({figures['machine']}), "
        f"jaxlib {figures['jaxlib']}, load {figures['load'][0]:.1f} at the start.",
        "",
        "| program | median ms (fastest to slowest) | images/s | temporary MB | compiling s "
        "| difference from TensorFlow |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures["programs"].items():
        median, fastest, slowest = (
            1e3 * found[key] for key in ("seconds", "fastest_seconds", "slowest_seconds")
        )
        lines.append(
            f"| {name} | {median:,.1f} ({fastest:,.1f} to {slowest:,.1f}) "
            f"| {batch / found['seconds']:,.0f} | {found['temporary_bytes'] / 1e6:,.0f} "
            f"| {found['compile_seconds']:.1f} "
            f"| {found['relative_difference_from_tensorflow']:.0e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
