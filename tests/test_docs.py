"""What the guide in docs/ shows runs as it stands, and where it points to is there."""

import ast
import configparser
import json
import re
import shutil
import sys

import keras
import messages
import numpy as np
import pytest
import tensorflow as tf
from programs import ROOT, run_program

from seatbelt_tf import SeatbeltVAE, datasets
from seatbelt_tf.attacks import diagnostics, objectives
from seatbelt_tf.datasets import registry
from seatbelt_tf.defences import base, settings
from trainers.evaluation import attack_sections, sections

# Batches here are as small as they can be.
pytestmark = pytest.mark.filterwarnings("ignore:A batch of .* is too small")
PAGES = sorted((ROOT / "docs").glob("*.md"))
PACKAGES = ("seatbelt_tf", "trainers", "export")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def _blocks(kind, section):
    """The code blocks of a kind under a heading of docs/extending.md."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", EXTENDING, re.DOTALL | re.MULTILINE)[1]
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(autouse=True)
def _own_tables(monkeypatch):
    """What a test registers is forgotten after it."""
    for module, name in (
        (objectives, "_OBJECTIVES"),
        (registry, "_SOURCES"),
        (base, "_DEFENCES"),
        (settings, "DEFAULTS"),
        (settings, "_CHECKS"),
    ):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))


def _images(count=16, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype(np.float32)


def _run(section, **names):
    for block in _blocks("python", section):
        exec(block, names)
    return names


def test_an_encoder_from_outside_is_attacked_like_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 1))
    flat = keras.layers.Flatten()(pixels)
    encoder = keras.Model(pixels, (keras.layers.Dense(2)(flat), keras.layers.Dense(2)(flat)))
    decoder = keras.Sequential([keras.layers.Dense(1024), keras.layers.Reshape((32, 32, 1))])
    images, targets = _images(2), _images(2, seed=1)
    given = {"encoder": encoder, "decoder": decoder, "images": images, "targets": targets}
    found = _run("An encoder", **given)
    assert found["area"].shape == found["damage"].damage.shape == (2,)
    assert len(list(tmp_path.glob("batteries/latent_kl-*/part-*.npz"))) == 1
    said = capsys.readouterr().out
    assert "24 attacks" in said
    assert "not_converged" in said


def test_an_encoder_whose_pairs_have_no_gap_is_told_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    encoder = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten()])
    encoder = keras.Model(encoder.inputs, (encoder.outputs[0][:, :2], encoder.outputs[0][:, :2]))
    # It makes the same of everything.
    decoder = keras.Sequential([keras.layers.Dense(1024, kernel_initializer="zeros")])
    decoder.add(keras.layers.Reshape((32, 32, 1)))
    images, targets = _images(1), _images(1, seed=1)
    _run("An encoder", encoder=encoder, decoder=decoder, images=images, targets=targets)
    assert "area above blending no gap to close" in capsys.readouterr().out


def test_an_encoder_with_several_layers_is_attacked():
    keras.utils.set_random_seed(0)

    def network(inputs, units):
        flat = keras.layers.Flatten()(inputs)
        return keras.Model(inputs, [keras.layers.Dense(units)(flat) for _ in range(2)])

    bottom, top = network(keras.Input((32, 32, 1)), 4), network(keras.Input((4,)), 2)
    images, targets = _images(2), _images(2, seed=1)
    given = {"bottom": bottom, "top": top, "images": images, "targets": targets}
    found = _run("An encoder with several layers", weights=[1e-3, 1e-3], **given)
    result, model = found["result"], found["TwoLayers"]()
    assert np.all(result.divergence < 0.5 * result.unattacked_divergence)
    # The second of three draws.
    noise = [tf.random.stateless_normal((3, units), (0, units)) for units in model.latent_dims]
    first, second = model.posteriors(images, noise)
    mean, log_variance = bottom(images)
    ancestors = mean + tf.exp(0.5 * log_variance) * noise[0][1]
    np.testing.assert_allclose(first.mean[:, 1], mean, rtol=1e-5)
    np.testing.assert_allclose(second.mean[:, 1], top(ancestors)[0], rtol=1e-4, atol=1e-5)


def test_an_objective_from_outside_is_attacked_with():
    model = SeatbeltVAE((32, 32, 1), (4, 3), seed=1)
    images, targets = _images(2), _images(2, seed=1)
    found = _run(
        "An attack objective", model=model, images=images, targets=targets, weights=np.full(2, 1e-3)
    )
    result = found["result"]
    pairs = zip(model.encode(result.adversarial), model.encode(targets), strict=True)
    shifts = [np.sum(np.square(one.mean - two.mean), axis=1) for one, two in pairs]
    np.testing.assert_allclose(result.divergence, sum(shifts), rtol=1e-3)
    assert np.all(result.divergence < 0.5 * result.unattacked_divergence)


def test_a_dataset_from_outside_is_loaded_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"with scans\.npy"):
        _run("A dataset", data_dir=str(tmp_path))
    array = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 1)).astype(np.uint8)
    np.save(tmp_path / "scans.npy", array)
    registry._SOURCES.pop("scans")
    images = np.concatenate(list(_run("A dataset", data_dir=str(tmp_path))["batches"]))
    seen = {image.tobytes() for image in np.rint((images + 1) * 127.5).astype(np.uint8)}
    # Twelve whole batches of different training images.
    assert len(seen) == len(images) == 768
    assert seen < {image.tobytes() for image in array[:800]}


def test_defences_from_outside_are_trained_with_and_kept_in_the_configuration():
    models = [_run(section)["model"] for section in ("A defence", "A penalty")]
    assert [set(model.defences) for model in models] == [{"hidden_pixels"}, {"dip"}]
    both = models[0].defences | models[1].defences
    model = SeatbeltVAE((32, 32, 1), (4, 3), defences=both)
    model.compile(optimizer="adam")
    history = model.fit(_images(), batch_size=8, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert SeatbeltVAE.from_config(model.get_config()).defences == both


def test_hidden_pixels_are_a_share_and_options_are_checked():
    found = _run("A defence")
    defence = found["HiddenPixels"](share=0.25)
    shown = defence.shown(tf.ones((8, 32, 32, 1)), tf.constant([1, 2]))
    assert np.mean(shown.numpy() == 0) == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ValueError, match="hidden_pixels share"):
        SeatbeltVAE((32, 32, 1), (4,), defences={"hidden_pixels": {"share": 1.0}})
    with pytest.raises(ValueError, match="one that no defence has"):
        settings.add("hidden_pixels", {})
    with pytest.raises(ValueError, match="other's option"):
        settings.add("other", {"unheard_of": 1})


def test_the_penalty_is_the_covariances_of_the_means():
    found = _run("A penalty")
    model, images = found["model"], _images()
    penalty = found["DisentangledInferredPrior"](weight=3.0)
    loss = penalty.loss(model, tf.constant(images), tf.constant(1.0), None, None)
    covariance = np.cov(model.encode(images)[-1].mean.numpy().T, bias=True)
    np.fill_diagonal(covariance, 0)
    assert float(loss) == pytest.approx(1 + 3 * np.sum(covariance**2), rel=1e-4)


def _edited_tree(directory):
    """A copy of the package with all edits of docs/extending.md made."""
    for name in ("seatbelt_tf", "trainers"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for section, name in (
        ("An attack objective", "attacks/latent_mean"),
        ("A dataset", "datasets/scans"),
    ):
        (directory / "seatbelt_tf" / f"{name}.py").write_text(_blocks("python", section)[0])
    diffs = _blocks("diff", "An estimator of the total correlation")
    diffs += _blocks("diff", "Into the package, for the programs")
    for diff in "".join(diffs).split("--- ")[1:]:
        name, *lines = diff.rstrip("\n").split("\n")
        old, new = (
            "\n".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +")
        )
        path = directory / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name}: {old}"
        path.write_text(text.replace(old, new))


ESTIMATE = """
import numpy as np
from seatbelt_tf.objectives import total_correlation
z, m, s = np.random.default_rng(0).uniform(0.5, 1.5, (3, 20, 4)).astype(np.float32)
raw = total_correlation(z, m, s, dataset_size=100, estimator="mws_unnormalised")
offset = np.asarray(raw - total_correlation(z, m, s))
np.testing.assert_allclose(offset, 3 * np.log(100), rtol=1e-5)
"""


def test_the_edits_put_all_three_into_the_package(tmp_path):
    _edited_tree(tmp_path)
    array = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 1)).astype(np.uint8)
    np.save(tmp_path / "scans.npy", array)
    (tmp_path / "trainers" / "estimate.py").write_text(ESTIMATE)
    for program, flags in (
        ("train", "--dataset=scans --data_dir=. --latent_dims=3 --steps=2 --noreport"
         " --tc_estimator=mws_unnormalised --batch_size=40"),
        ("attack", "--objective=latent_mean --pairs=1 --weights=2 --max_evaluations=3"),
        ("estimate", ""),
    ):  # fmt: skip
        done = run_program(program, "--run=run", *flags.split(), directory=tmp_path, root=tmp_path)
        assert done.returncode == 0, done.stderr
    (records,) = (tmp_path / "run" / "attacks").glob("latent_mean-*/records.csv")
    assert len(records.read_text().splitlines()) == 1 + 2


def _block(page, kind):
    """The only code block of a kind in a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
    return block


def test_work_is_shared_between_processes_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("part_7.npz", found=np.ones(3))
    exec(_block("durability.md", "python"), {})
    totals = [np.load(f"part_{number}.npz")["found"].sum() for number in range(100)]
    assert totals == [3.0 if number == 7 else 0.0 for number in range(100)]


def test_the_recorded_preprocessing_that_is_shown_is_a_datasets():
    assert json.loads(_block("datasets.md", "json")) == datasets.recipe("celeb_a")


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not anchor or anchor in _anchors(place), f"{target}#{anchor}"


def _anchors(page):
    """The names that GitHub gives a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_rows_of_tables_are_lines_with_as_many_cells_as_their_heading(page):
    text = re.sub(r"```.*?```|``|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    cells = 0
    for line in text.splitlines():
        row = line.strip()
        if not row.startswith("|"):
            cells = 0
            continue
        assert row.endswith("|"), line
        found = len(re.findall(r"(?<!\\)\|", row))
        assert cells in (0, found), line
        cells = found


@pytest.mark.parametrize(
    ("page", "file"),
    [
        *(
            ("reproduction.md", f"reproduction/cpu/claims-{dataset}/{table}.md")
            for dataset in ("sprites", "cifar10")
            for table in ("robustness", "others")
        ),
        ("defences.md", "defences_cost.md"),
        ("defences.md", "reproduction/cpu/defences-cifar10/goals.md"),
    ],
)
def test_tables_are_as_the_programs_wrote_them(page, file):
    rows = re.search(r"^\|.*", (ROOT / "results" / file).read_text(encoding="utf-8"), re.M | re.S)
    assert rows[0] in (ROOT / "docs" / page).read_text(encoding="utf-8")


NUMBER = r"(-?\d[\d.]*(?:e-?\d+)?)"
WITH_INTERVAL = re.compile(rf"{NUMBER}( %)? \[{NUMBER}, {NUMBER}\]")


def _intervals(text):
    """What a page says as mean [lower, upper]: list of (numbers, half of their last places)."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", re.sub(r"\s+", " ", text).replace("−", "-"))
    found = []
    for mean, percent, *bounds in WITH_INTERVAL.findall(text):
        unit = 0.01 if percent else 1.0
        places = [len(re.sub("e.*", "", n).partition(".")[2]) for n in (mean, *bounds)]
        numbers = [unit * float(n) for n in (mean, *bounds)]
        # A little more, for tables are rounded, too.
        found.append((numbers, [0.501 * unit * 10.0**-place for place in places]))
    return found


# What a page's means are of, where it is not everything.
TABLES = {
    "README.md": "reproduction/cpu/defences-*/*.md",
    "docs/defences.md": "reproduction/cpu/defences-*/*.md",
    "docs/reproduction.md": "reproduction/cpu/*/*.md",
}


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in PAGES)])
def test_means_with_intervals_are_in_the_tables_of_the_programs(page):
    paths = sorted((ROOT / "results").glob(TABLES.get(page, "**/*.md")))
    tables = [path.read_text(encoding="utf-8") for path in paths]
    written = np.array([numbers for text in tables for numbers, _ in _intervals(text)])
    # "Less by" has the other sign.
    written = np.concatenate([written, -written[:, [0, 2, 1]]])
    for numbers, tolerances in _intervals((ROOT / page).read_text(encoding="utf-8")):
        assert np.any(np.all(np.abs(written - numbers) <= tolerances, axis=1)), numbers


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"({page.name})" in index


GUIDE = (ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8")


def test_the_guide_to_reports_has_every_check_with_its_limit():
    path = ROOT / "seatbelt_tf" / "attacks" / "diagnostics.py"
    limits = {}
    for call in messages.calls(path, "_diagnosis"):
        (name,) = messages.texts(call.args[0])
        limits[name] = eval(ast.unparse(call.args[2]), vars(diagnostics))
    rows = re.findall(r"^\| `(\w+)` \| ([\d.e-]+) \|", GUIDE, re.MULTILINE)
    assert len(limits) == 11
    assert {name: float(limit) for name, limit in rows} == limits


def test_the_guide_to_reports_has_every_number():
    files = [ROOT / "trainers" / "evaluation" / f"{n}.py" for n in ("sections", "attack_sections")]
    tables = (sections.CLEAN, attack_sections.ATTACKS, attack_sections.DISTANCES, sections.TASKS)
    names = {name for table in tables for name in table}
    for call in (call for path in files for call in messages.calls(path, "Row")):
        # What a name is put together of, where it comes from no table.
        names |= {part for text in messages.texts(call.args[0]) for part in text.split("…")}
    assert {"stddev_norm_", "mean_radius_", "mig", "distortion_norm"} <= names
    # Named by what measures them.
    names |= {"kl_layer_", "noise_", "_clean", "_attacked", "_drop"}
    quoted = re.findall(r"`([^`\n]+)`", GUIDE)
    assert not [name for name in names - {"", "_"} if not _is_quoted(name, quoted)]


def _is_quoted(name, quoted):
    """Whether a name, or one with that beginning or end, is among the quoted texts."""
    is_part = name.startswith("_") or name.endswith("_")
    return any(name in text if is_part else name == text for text in quoted)


# What is imported by another name than the package's, and what by none.
MODULES = {"absl-py": "absl", "pillow": "PIL", "scikit-learn": "sklearn"}
MODULES |= {"tensorflow-serving-api": "tensorflow_serving"}
TOOLS = {"dill", "mypy", "pytest-xdist", "ruff"}


def _declared():
    """{package: names of the extras that bring it, none for those that are always there}."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    parts = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    found = {}
    for extra, lines in parts.items():
        for package in re.findall(r"^[\w-]+(?:\[\w+\])?", lines, re.MULTILINE):
            found.setdefault(package, set()).update({extra} - {""})
    return found


def _imported(folder):
    """The packages that the sources in a folder import."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def _module(package):
    return MODULES.get(package, package.split("[")[0].replace("-", "_"))


def test_dependencies_are_those_with_a_reason():
    page = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    reasons = {}
    table = page.split("## Dependencies")[1]
    for packages, extras in re.findall(r"^\| (`[^|(]*`) (?:\(([^)]*)\) )?\|", table, re.MULTILINE):
        names = re.findall("`(.*?)`", packages)
        reasons |= {name: set(re.findall("`(.*?)`", extras)) for name in names}
    assert reasons == _declared()


def test_dependencies_are_imported_and_imports_are_dependencies():
    folders = (*PACKAGES, "benchmarks", "docs", "tests")
    imported = {name for folder in folders for name in _imported(folder)}
    assert {p for p in _declared() if _module(p) not in imported} == TOOLS
    declared = {_module(package) for package in _declared()}
    needed = {name for folder in PACKAGES for name in _imported(folder)}
    # gRPC comes with the client's stubs.
    assert needed - declared - set(PACKAGES) - sys.stdlib_module_names == {"grpc"}


TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
GENERAL = re.search(r"^## General forms\n(.*?)^## ", TROUBLESHOOTING, re.DOTALL | re.MULTILINE)[1]
MESSAGES = sorted({text for path in SOURCES for text in messages.messages(path)})


def _rows(text):
    """The cells of all tables' rows, headings apart: lists of texts."""
    tables = re.findall(r"^\|[ -].*\n\|[-:|]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    lines = "".join(table.rstrip("\n") + "\n" for table in tables).splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _phrases(text, cells=slice(-2, -1)):
    """What is quoted in the tables' cells of messages: a set of texts."""
    quoting = [" ".join(row[cells]) for row in _rows(text) if "absl" not in row[0]]
    quoted = [phrase for cell in quoting for phrase in re.findall(r"`([^`]+)`", cell)]
    return {messages.PREFIX.sub("", phrase) for phrase in quoted}


def test_messages_of_the_troubleshooting_page_are_the_programs_own():
    said = "\n".join([*MESSAGES, *(text for path in SOURCES for text in messages.strings(path))])
    phrases = _phrases(TROUBLESHOOTING, slice(0, -1))
    pieces = {piece.strip() for phrase in phrases for piece in phrase.split("…")}
    assert len(pieces) > 200
    assert not sorted(piece for piece in pieces if piece not in said)


def test_the_troubleshooting_page_has_every_message():
    phrases = _phrases(TROUBLESHOOTING)
    form = "Invalid value for …. Expected …. Received: …=…"
    assert len(MESSAGES) > 200
    assert form in MESSAGES
    missing = [m for m in MESSAGES if not any(messages.is_explained(m, p) for p in phrases)]
    assert missing == [form]


def test_only_general_forms_stand_for_many_messages():
    for phrase in _phrases(TROUBLESHOOTING) - _phrases(GENERAL):
        explained = [message for message in MESSAGES if messages.is_explained(message, phrase)]
        assert len(explained) <= 4, phrase


def test_every_row_of_the_troubleshooting_page_says_what_to_do():
    assert not [row for row in _rows(TROUBLESHOOTING) if not row[-1]]


@pytest.mark.parametrize(
    ("message", "phrase", "is_explained"),
    [
        ("at most the … test images", "at most", False),
        ("at most the … test images", "at most the … test images", True),
        ("… is a link", "is a link", True),
        ("… is a link to another file", "is a link", False),
        ("columns below … and none negative", "columns below", False),
        ("columns below … and none negative", "columns … and none", True),
        ("columns below … and none negative", "none … columns below", False),
    ],
)
def test_a_phrase_explains_a_message_by_all_or_much_of_it(message, phrase, is_explained):
    assert messages.is_explained(message, phrase) == is_explained


def test_messages_are_found_in_variables_branches_and_assertions(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        """
KIND = "a module's"
def f(x):
    words = "this" if x else "that"
    tf.debugging.Assert(x, ["first", x, "and last"])
    print("no message"), print(f"warning: {x} twice")
    raise invalid("name", words if x is None else f"{KIND} {x}" " text", x)
"""
    )
    found = sorted(messages.messages(file))
    assert found == ["a module's … text", "first … and last", "that", "this", "… twice"]
