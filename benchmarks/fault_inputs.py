"""Hostile files and bad inputs: what is said, how soon, and what it costs in memory."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import time
import zlib

from seatbelt_tf import runs
from tests import hostile
from tests.programs import SMALLEST

ROOT = pathlib.Path(__file__).parents[1]

_READ = """
import json, resource, sys, warnings
import numpy as np
from seatbelt_tf import datasets, runs, tensors
kind, path = sys.argv[1:]
if kind == "keras":
    import seatbelt_tf.model, seatbelt_tf.weights
    runs.Run(path).new_model()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
try:
    if kind == "npz":
        tensors.load(path, max_bytes=2**26)
    elif kind == "config":
        runs.Run(path).config()
    elif kind == "keras":
        runs.Run(path).load_model()
    elif kind == "tar":
        from seatbelt_tf.datasets.builders import renders
        renders.renders(path, r".*[.]png")
    else:
        next(iter(datasets.load(f"folder:{path}", split="train", batch_size=1)))
    said = "accepted"
except ValueError as error:
    said = " ".join(str(error).split())[:300]
print(json.dumps({"said": said, "peak_mib": round(peak()), "growth_mib": round(peak() - before)}))
"""


def _read(kind, path):
    result = subprocess.run(
        [sys.executable, "-c", _READ, kind, str(path)],
        env=dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


def hostile_files(directory):
    """A table: file -> what was said, peak memory of the process and its growth by the file."""
    trap, table = directory / "trap", {}
    for name, maker in hostile.NPZ.items():
        path = directory / f"{name}.npz"
        maker(path, trap)
        table[name] = _read("npz", path)
    for name, content in hostile.CONFIGS.items():
        run = directory / f"run-{len(table)}"
        run.mkdir()
        hostile.write_config(run / "config.json", content)
        table[f"config.json: {name}"] = _read("config", run)
    run = directory / "run-keras"
    run.mkdir()
    model = {"image_shape": [32, 32, 1], "latent_dims": [3]}
    hostile.write_config(run / "config.json", {"format": 1, "model": model})
    hostile.write_lambda_keras(run / "model.keras", trap)
    table["model.keras: a Lambda in place of the weights"] = _read("keras", run)
    archive = directory / "escaping.tar"
    hostile.escaping_tar(archive)
    table["tar with ../escaped.png"] = _read("tar", archive)
    pictures = directory / "pictures"
    pictures.mkdir()
    huge_png(pictures / "huge.png", 20_000)
    size = (pictures / "huge.png").stat().st_size
    table[f"20,000 × 20,000 PNG of {size // 1000} kB"] = _read("folder", pictures)
    return {"executed": trap.exists(), **table}


def huge_png(path, side):
    """A black 8-bit PNG of side × side pixels, written without holding it."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    compressor = zlib.compressobj(9)
    pieces = [compressor.compress(bytes(side + 1)) for _ in range(side)]
    pixels = b"".join(pieces) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


_STRAY = {"--unknown": "unknown", "stray": "stray"}
_GENERIC = {**_STRAY, "--run=nowhere": "no config.json", "--run=": "--run="}


def _programs():
    """Program -> command lines that it must refuse, with words of the reason: the tests' own, and
    others."""
    sys.path.append(str(ROOT / "tests"))
    from tests.trainers import test_attack_program, test_evaluate_program, test_train_program

    return {
        "trainers.train": test_train_program.BAD,
        "trainers.attack": test_attack_program.BAD,
        "trainers.evaluate": test_evaluate_program.BAD,
        "trainers.reproduce": _STRAY,
        "export.saved_model": _GENERIC,
    }


_API = {
    "SeatbeltVAE(image_shape=(48, 48, 1))": "S(image_shape=(48, 48, 1))",
    "SeatbeltVAE(latent_dims=())": "S(latent_dims=())",
    "SeatbeltVAE(beta=nan)": "S(beta=float('nan'))",
    "SeatbeltVAE(penalty='tcc')": "S(penalty='tcc')",
    "SeatbeltVAE(tc_estimator='mss')": "S(tc_estimator='mss')",
    "SeatbeltVAE(seed=-1)": "S(seed=-1)",
    "from_preset('celeba')": "S.from_preset('celeba')",
    "fit(NaN)": "model.fit(np.full_like(x, np.nan))",
    "fit(0 … 255)": "model.fit(255 * abs(x))",
    "fit(uint8)": "model.fit(x.astype(np.uint8))",
    "fit(other size)": "model.fit(np.zeros((4, 64, 64, 1), np.float32))",
    "fit(fewer than a batch)": "model.fit(x, batch_size=64)",
    "encode(no images)": "model.encode(x[:0])",
    "decode(too few layers)": "model.decode([np.zeros((2, 4), np.float32)])",
    "sample(0)": "model.sample(0)",
    "attack(images outside)": "attacks.attack(model, 2 * x, x, np.ones(8))",
    "attack(one weight too few)": "attacks.attack(model, x, x, np.ones(7))",
    "attack(negative weight)": "attacks.attack(model, x, x, -np.ones(8))",
    "attack(objective='latent_k')": "attacks.attack(model, x, x, w, objective='latent_k')",
    "attack(layers=(2,))": "attacks.attack(model, x, x, np.ones(8), layers=(2,))",
    "minimize_in_box(NaN bound)": "attacks.minimize_in_box(len, [[0.0]], [[np.nan]], [[1.0]])",
    "paper_weights(0)": "attacks.paper_weights(0)",
    "datasets.load('sprite')": "datasets.load('sprite', batch_size=4)",
    "datasets.load(split='tests')": "datasets.load('sprites', split='tests', batch_size=4)",
    "datasets.load(batch_size=0)": "datasets.load('sprites', batch_size=0)",
    "Run('nowhere').config()": "runs.Run('nowhere').config()",
    "Run('nowhere').load_model()": "runs.Run('nowhere').load_model()",
}
_CALL = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from seatbelt_tf import SeatbeltVAE as S, attacks, datasets, runs
model = S(image_shape=(32, 32, 1), latent_dims=(4, 3))
model.compile(optimizer="adam")
x = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 1)).astype(np.float32)
w = np.ones(8)
for name, code in json.loads(sys.argv[1]).items():
    started = time.perf_counter()
    try:
        eval(code)
        said, status = "accepted", 0
    except Exception as error:
        said, status = " ".join(str(error).split())[:300], type(error).__name__
    seconds = round(time.perf_counter() - started, 3)
    print(json.dumps({"input": name, "status": status, "seconds": seconds, "said": said}))
"""


def bad_inputs(directory):
    """A table of bad inputs over the API and the programs, and counts of what should not be.

    "refused_otherwise" counts the command lines whose fault is not the one that was said.
    """
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3")
    (directory / "file").write_text("")
    # With these, what is wrong with a command line is what its table says.
    for name in ("run", "untrained"):
        runs.Run(directory / name).create(SMALLEST)
    (directory / "run" / "model.keras").write_bytes(b"any")
    rows, otherwise = [], 0
    for program, inputs in _programs().items():
        for arguments, words in inputs.items():
            started = time.monotonic()
            result = subprocess.run(
                [sys.executable, "-m", program, *arguments.split()],
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            otherwise += words not in result.stderr
            rows.append(
                {
                    "input": f"{program} {arguments}",
                    "status": result.returncode,
                    "seconds": round(time.monotonic() - started, 2),
                    "said": result.stderr.strip().replace(str(directory), "…"),
                }
            )
    result = subprocess.run(
        [sys.executable, "-c", _CALL, json.dumps(_API)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    rows += [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return {
        "inputs": len(rows),
        "not_refused": sum(row["status"] not in (2, "ValueError") for row in rows),
        "refused_otherwise": otherwise,
        "tracebacks": sum("Traceback" in row["said"] for row in rows),
        "longest_seconds": max(row["seconds"] for row in rows),
        "table": rows,
    }
