"""Finding a dataset that TFDS has prepared on disk, without importing TFDS.

A prepared dataset is a directory <data_dir>/<name>/<version>/ with `dataset_info.json`,
`features.json` and the record files that the former lists.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared dataset.

    Attributes:
      directory: the version's directory.
      splits: TFDS split name -> number of examples.
      missing: names of files that should be there and are not.
      fingerprint: changes whenever the dataset is prepared differently.
    """

    directory: pathlib.Path
    splits: Mapping[str, int]
    missing: tuple[str, ...]
    fingerprint: str


def data_directory(data_dir: str | os.PathLike | None) -> pathlib.Path:
    """`data_dir`, or TFDS's default when it is None."""
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(data_dir).expanduser()


def _version(directory: pathlib.Path) -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in directory.name.split("."))
    except ValueError:
        return None


def _record_files(name: str, split: dict) -> list[str]:
    shards = len(split["shardLengths"])
    template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    return [
        template.format(
            DATASET=name,
            SPLIT=split["name"],
            FILEFORMAT="tfrecord",
            SHARD_INDEX=f"{shard:05d}",
            NUM_SHARDS=f"{shards:05d}",
            SHARD_X_OF_Y=f"{shard:05d}-of-{shards:05d}",
        )
        for shard in range(shards)
    ]


def find_prepared(name: str, data_dir: str | os.PathLike | None) -> Prepared | None:
    """The newest prepared version of a dataset, or None when there is none.

    Raises:
      ValueError: its `dataset_info.json` cannot be read.
    """
    root = data_directory(data_dir) / name
    files = {_version(path.parent): path for path in root.glob("*/dataset_info.json")}
    newest = max((version for version in files if version), default=None)
    if newest is None:
        return None
    path = files[newest]
    try:
        content = path.read_bytes()
        described = json.loads(content)["splits"]
        splits = {s["name"]: sum(map(int, s["shardLengths"])) for s in described}
        records = [file for split in described for file in _record_files(name, split)]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"Invalid value for data_dir. Expected a readable {path}. Received: "
            f"{type(error).__name__}: {error}"
        ) from error
    needed = ["features.json", *records]
    return Prepared(
        directory=path.parent,
        splits=splits,
        missing=tuple(file for file in needed if not (path.parent / file).is_file()),
        fingerprint=hashlib.sha256(content).hexdigest()[:12],
    )
