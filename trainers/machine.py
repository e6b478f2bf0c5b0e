"""What decides the last bits of a run besides its seed and settings (docs/durability.md)."""

import os
import pathlib
import platform

VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
)


def describe(xla, strategy="default", workers=1):
    """The machine and its settings, without TensorFlow.

    Args:
        xla: whether the training step is compiled with XLA.
        strategy: how training is distributed.
        workers: over how many processes.

    Returns:
        JSON-compatible dict: system, processor, threads (cores this process may use),
        accelerators, environment (those of `VARIABLES` that are set), op_determinism, xla,
        strategy, workers.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": len(os.sched_getaffinity(0)),
        "accelerators": _accelerators(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "op_determinism": True,
        "xla": xla,
        "strategy": strategy,
        "workers": workers,
    }


def differences(before, now):
    """What differs between two descriptions, one line each; nothing when one is empty."""
    return [
        f"{name} was {before[name]!r}, is {value!r}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]


def _processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _accelerators():
    """Names of NVIDIA GPUs, from the driver."""
    names = []
    for path in sorted(pathlib.Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text().splitlines()
        names += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")]
    return names
