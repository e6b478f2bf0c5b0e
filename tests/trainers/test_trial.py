"""The trial of defences: what counts as the strongest attack, what is proven, what is reported."""

import csv
import functools

import numpy as np
import pytest
from programs import ROOT, SMALLEST

from seatbelt_tf import SeatbeltVAE, runs, tensors
from seatbelt_tf.attacks import maximum_damage
from seatbelt_tf.defences import lipschitz, mcmc
from trainers import splits
from trainers.studies import cells, measures, scales, study
from trainers.studies import defences as trial
from trainers.studies.measures import proofs
from trainers.studies.reports import common, settings
from trainers.studies.reports import defences as report
from trainers.studies.zoo import DAMAGE_RADII, Zoo

ZOO = Zoo(scales.SCALES["smoke"], "sprites", None)
SEEDS = ZOO.scale.seeds
LIPSCHITZ = trial.FEW[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run for attacks on `model`."""
    run = runs.Run(tmp_path_factory.mktemp("attacked") / "run")
    run.create(SMALLEST)
    run.model_file.write_bytes(b"any")
    return run


@pytest.fixture(scope="module")
def model(run):
    """One that tells images apart without training: there are gaps to close."""
    images, _ = splits.first(run.config()["data"], "train", 100)
    model = SeatbeltVAE((32, 32, 1), (4, 3), defences={"pca": {}})
    model.adapt(images)
    return model


def test_the_strongest_attack_is_no_weaker_than_any_of_them(run, model):
    options = {"weights": 3, "max_evaluations": 5, "restarts": 0, "ancestors": "mean", "images": 8}
    objectives = ("latent_kl", "output")

    both = measures.strongest(model, run, run.config(), "validation", objectives, 3, 2, **options)
    assert both["area_above_blending"].shape == (2,)
    has_gap = np.isfinite(both["area_above_blending"])
    assert has_gap.any()
    areas = both["area_above_blending"][has_gap]
    assert np.all(areas >= 0)
    for objective in objectives:
        assert np.all(areas >= both[f"area_{objective}"][has_gap] - 1e-9)
    assert both["squared_error"].shape == (8,)


@pytest.mark.slow
def test_attacks_are_transferred_to_a_chain_from_the_model_without_it(run, model):
    hardly_moving = mcmc.with_chain(model, chain_steps=1, leapfrog_steps=1, step_size=1e-6)
    found = [
        measures.strongest(
            attacked,
            run,
            run.config(),
            *("validation", ("latent_kl",), 3, 3),
            **{"weights": 3, "max_evaluations": 5, "restarts": 0, "images": 8, **options},
        )
        for attacked, options in (
            (model, {"ancestors": "mean"}),
            (hardly_moving, {"ancestors": "sample", "transferred": True}),
        )
    ]
    own, through = found
    has_gap = np.isfinite(own["area_latent_kl"])
    assert has_gap.any()
    np.testing.assert_allclose(through["area_transferred"], own["area_latent_kl"], atol=1e-3)
    assert not np.allclose(through["area_latent_kl"], own["area_latent_kl"], atol=1e-3)
    areas = (through[name][has_gap] for name in ("area_above_blending", "area_transferred"))
    assert np.all(np.greater_equal(*areas))
    np.testing.assert_allclose(through["area_without_chain"], own["area_above_blending"], atol=1e-6)
    assert not {"area_transferred", "area_without_chain"} & set(own)


@pytest.fixture(scope="module")
def found_attacks():
    """The attacks on the model of `certificates` by radius, which differing certificates share."""
    return {}


@pytest.fixture
def certificates(found_attacks, monkeypatch):
    """What is proven of an untrained model, as a function of the tolerances."""

    def attack(model, images, radius, **options):
        if radius not in found_attacks:
            found_attacks[radius] = maximum_damage(model, images, radius, **options)
        return found_attacks[radius]

    def certificates(shares):
        model = SeatbeltVAE((32, 32, 1), (4,), defences={"lipschitz": {"bound": 1.5}})
        config = {"data": {"name": "sprites", "data_dir": None, "image_size": 32}}
        return measures.certificates(
            model, None, config, 3, (0.1, 0.5), shares, 0.9, pairs=2, starts=1, steps=3
        )

    monkeypatch.setattr(proofs, "maximum_damage", attack)
    return certificates


def test_no_certificate_is_broken(certificates):
    found = certificates((0.25, 0.5))
    assert found["certified"].shape == (2, 2, 3)
    # What is certified for a radius or tolerance is so for a smaller radius, a larger tolerance.
    assert np.all(found["certified"][:, 0] >= found["certified"][:, 1])
    assert np.all(found["certified"][1] >= found["certified"][0])
    np.testing.assert_allclose(found["tolerances"] / found["mean_radius"], 1.5, rtol=1e-3)
    assert (found["mean_violations"], found["sample_violations"]) == (0, 0)
    # Of two images, two radii and two tolerances all.
    assert found["sample_checks"] == 8


def test_a_certificate_that_is_wrong_is_found_out(certificates, monkeypatch):
    def wrong(_, images, tolerance, probability):
        del tolerance, probability
        return lipschitz.Certificate(1e6, np.full(len(images), 1e6))

    monkeypatch.setattr(lipschitz, "certificate", wrong)
    # Samples of an untrained model are about 0.1 from each other, these tolerances below 0.02.
    found = certificates((1e-4, 5e-4))
    assert np.all(found["tolerances"] < 0.02)
    assert found["mean_violations"] == 4
    assert found["sample_violations"] == found["sample_checks"] == 8


def _findings(tmp_path, areas, errors):
    """Findings of the three settings: areas by pair, the same for all seeds, and squared errors."""
    findings = study.Findings(tmp_path, [])
    for setting, area, error in zip(trial.FEW, areas, errors, strict=True):
        for seed in SEEDS:
            strongest = {
                "area_above_blending": np.array(area),
                "attack_area": 2 * np.array(area),
                "squared_error": np.array([error, error + 10.0]),
                "norm_to_half": np.full(2, 0.3),
                "slope": np.full(2, 1.4),
                "curve_norms": np.linspace(0, 1, 3),
                "attack_curves": np.full((2, 3), 0.5),
                "blending_curves": np.full((2, 3), 0.4),
                "fired": [],
                **{f"area_{name}": np.array(area) for name in report.OBJECTIVES},
            }
            findings._found[ZOO.defended(setting, seed)] = {
                ZOO.tuning(setting): strongest,
                ZOO.strongest(setting): strongest,
                ZOO.damage(setting): {
                    "radii": np.array(DAMAGE_RADII),
                    "damage": np.outer(DAMAGE_RADII, [1.2, 1.6]),
                    "typical": 4.0,
                },
                ZOO.certificates(): {
                    "tolerances": np.array([2.0, 4.0]),
                    "radii": np.array([0.1, 1.0]),
                    "mean_radius": np.array([1.5, 3.0]),
                    "certified": np.array([[[1, 1], [0, 0]], [[1, 1], [1, 0]]], bool),
                    "bound": 1.3,
                    "mean_violations": 1,
                    "sample_violations": 2,
                    "sample_checks": 3,
                },
                ZOO.projection(): {
                    "projection_error": np.array([4.0, 6.0]),
                    "squared_error": np.array([2.0, 5.0]),
                    "network_norm": np.array([1.0, 1.0]),
                },
            }
    return findings


def test_goals_are_judged_by_the_interval_of_the_share(tmp_path):
    def verdicts(*areas, error=100.0):
        findings = _findings(tmp_path, areas, (100.0, 100.0, error))
        rows = report.report(ZOO, findings).tables["goals"]
        return [(row["chosen"], row["verdict"]) for row in rows]

    plain, tc = [0.2, 0.4], [0.3, 0.3]
    robust = settings.title(LIPSCHITZ)
    assert verdicts(plain, tc, [0.02, 0.04]) == [(robust, "reached")] * 2
    assert verdicts(plain, tc, [0.04, 0.08]) == [(robust, "reached"), (robust, "not reached")]
    # A tenth to four tenths: a quarter lies between.
    assert verdicts(plain, tc, [0.02, 0.16]) == [(robust, "undecided"), (robust, "undecided")]
    # Within the wider limit only.
    assert verdicts(plain, tc, [0.02, 0.04], error=112.0) == [
        ("TC", "not reached"),
        (robust, "reached"),
    ]
    # Nothing to take a share of.
    assert verdicts([0.0, 0.0], tc, tc) == [("none", "undecided")] * 2


def test_what_is_proven_and_what_breaks_it_is_reported_by_tolerance(tmp_path):
    findings = _findings(tmp_path, [[0.3, 0.3]] * 3, [100.0] * 3)
    tables = report.report(ZOO, findings).tables
    rows = tables["certificates"]
    # Findings have them for all; only those of "lipschitz" would be measured.
    first, second = rows[:2]
    at_one = "share certified at ‖d‖ = 1 (samples, probability 0.9)"
    assert (first[at_one], second[at_one]) == ("0 [0, 0.842]", "0.500 [0, 1.00]")
    # One of each seed's attacks, both pairs' of the batteries, one image's without a target.
    broken = 1 + 2 + len(DAMAGE_RADII)
    assert first["pairs and attacks that broke it"] == broken * len(SEEDS)
    assert first["steepest attack found"] == "1.600"
    broken = first["images whose samples broke theirs, all tolerances"]
    assert broken == f"{2 * len(SEEDS)} of {3 * len(SEEDS)}"
    network = tables["projection"][0]
    assert network["squared error, principal components alone"].startswith("5.000 [")
    assert network["difference"].startswith("-1.50 [-2.00, -1.00")
    (added,) = tables["added"]
    assert (added["with"], added["without"]) == ("TC", "none")
    assert added["area above blending (difference)"] == "0 [0, 0]"
    assert added["norm for half the gap (difference)"] == "0 [0, 0]"


def test_what_is_added_is_compared_in_area_above_blending_and_in_the_whole_area(tmp_path):
    findings = _findings(tmp_path, [[0.3, 0.3], [0.4, 0.4], [0.3, 0.3]], [100.0, 90.0, 100.0])
    (added,) = report.report(ZOO, findings).tables["added"]
    assert added["area above blending (difference)"] == "0.100 [0.100, 0.100]"
    assert added["area of attacks and blending (difference)"] == "0.200 [0.200, 0.200]"
    assert added["squared error (difference)"] == "-10.0 [-10.0, -10.0]"


def test_an_attack_that_alone_is_weaker_than_blending_is_told(tmp_path):
    findings = _findings(tmp_path, [[0.3, 0.3]] * 3, [100.0] * 3)
    assert report._row(ZOO, findings, trial.NONE)["checks that fired"] == "none"
    (last,) = findings.finished([ZOO.defended(trial.NONE, SEEDS[-1])], ZOO.strongest(trial.NONE))
    last["area_output"] = np.array([0.3, -0.01])
    assert report._row(ZOO, findings, trial.NONE)["checks that fired"] == "weaker_than_blending"


def test_a_classifier_that_was_better_before_does_not_count_as_robust(tmp_path):
    measure = ZOO.downstream(trial.END_TO_END_RADII)
    radii = len(trial.END_TO_END_RADII)
    findings = _findings(tmp_path, [[0.3, 0.3]] * 3, [100.0] * 3)
    # Right on two and on four of the four attacked images; an attack takes two from either.
    for setting, right in ((trial.NONE, [1, 1, 0, 0]), (trial.TC, [1, 1, 1, 1])):
        for seed in SEEDS:
            found = {"rows": np.array([0, 2, 4, 6]), "distortion_norm": np.ones(4)}
            for task in report.TASKS:
                clean = np.zeros(8, bool)
                clean[found["rows"]] = right
                found[f"clean_{task}"] = clean
                found[f"attacked_{task}"] = np.zeros(4, bool)
                attacked = np.array(right, bool) & np.array([0, 0, 1, 1], bool)
                found[f"end_to_end_{task}"] = np.tile(attacked, (radii, 1))
            findings._found[ZOO.defended(setting, seed)][measure] = found
    tables = report.report(ZOO, findings).tables
    # Of proportions of 1 the interval is that of the images.
    row = next(row for row in tables["end_to_end"] if row["setting"] == "TC")
    assert row["clean"] == "1.00 [0.398, 1.00]"
    assert [row[name].split()[0] for name in ("clean", "attacked", "lost")] == [
        "1.00",
        "0.500",
        "0.500",
    ]
    assert row["attacked, more than the plain VAE's"].startswith("0.500 [")
    assert row["lost, less than the plain VAE's"].startswith("0 [")
    for seed in SEEDS:
        del findings._found[ZOO.defended(trial.NONE, seed)][measure]
    alone = report.report(ZOO, findings).tables["end_to_end"][0]
    assert (alone["lost"], alone["lost, less than the plain VAE's"]) == (row["lost"], "—")
    row = next(row for row in tables["downstream"] if row["setting"] == "TC")
    assert row["clean"].split()[0] == "0.500"
    assert row["clean, the attacked images"].split()[0] == "1.00"


def test_tables_are_what_the_published_measurements_say(tmp_path, monkeypatch):
    monkeypatch.setattr(report.defence_figures, "drawn", lambda *_: {})
    monkeypatch.setattr(tensors, "load_whole", functools.cache(tensors.load_whole))
    results = ROOT / "results"
    folders = sorted(results.glob("reproduction/cpu/defences-*"))
    assert [folder.name for folder in folders] == ["defences-cifar10", "defences-sprites"]
    for folder in folders:
        zoo = Zoo(scales.SCALES["cpu"], folder.name.removeprefix("defences-"), None)
        wanted = trial.tuning(zoo)
        tuned = study.Findings(tmp_path, cells.merged(wanted), results / "measured")
        wanted = cells.merged([*wanted, *trial.trial(zoo, tuned)])
        findings = study.Findings(tmp_path, wanted, results / "measured")
        tables = report.report(zoo, findings).tables
        tables = {name: rows for name, rows in tables.items() if rows}
        assert set(tables) == {path.stem for path in folder.glob("*.csv")}
        for name, rows in tables.items():
            with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                written = list(csv.DictReader(file))
            assert [{k: str(v) for k, v in row.items()} for row in rows] == written


def test_random_inference_is_attacked_on_all_test_pairs():
    zoo = Zoo(scales.SCALES["cpu"], "sprites", None)
    chain = next(setting for setting in trial.SETTINGS if setting.is_random)
    own, plain = (dict(zoo.strongest(setting).options) for setting in (chain, trial.NONE))
    assert (own.pop("ancestors"), plain.pop("ancestors")) == ("sample", "mean")
    assert own.pop("transferred")
    # A chain's attacks take so long that they have less of both, and what they are held against
    # has, too.
    assert own.pop("max_evaluations") < plain.pop("max_evaluations")
    assert own.pop("restarts") < plain.pop("restarts")
    assert own == plain
    assert own["attacked"] == own["pairs"] == 20
    # docs/defences.md says so.
    assert dict(zoo.tuning(chain).options)["attacked"] == 2
    assert dict(zoo.damage(chain).options)["attacked"] == 5


@pytest.mark.parametrize("setting", [trial.MORE_UNITS, trial.PCA_UNITS])
def test_units_and_steps_are_multiples_of_the_plain_model(setting):
    zoo = Zoo(scales.SCALES["cpu"], "cifar10", None)
    plain, wider = zoo.defended(trial.NONE, 0), zoo.defended(setting, 0)
    assert int(wider.option("latent_dims")) == 4 * int(plain.option("latent_dims"))
    longer = next(setting for setting in trial.SETTINGS if setting.longer > 1)
    assert zoo.defended(longer, 0).option("steps") == longer.longer * plain.option("steps")
    # The paper's recipe says how many epochs.
    paper = Zoo(scales.SCALES["paper"], "cifar10", None)
    assert paper.defended(longer, 0).option("epochs") == longer.longer * 100


def test_a_chain_is_held_against_the_same_model_without_it(tmp_path):
    chain = next(setting for setting in trial.SETTINGS if setting.is_random)
    findings = _findings(tmp_path, [[0.3, 0.5]] * 3, [100.0] * 3)
    for seed in SEEDS:
        through = findings._found[ZOO.defended(trial.NONE, seed)][ZOO.strongest(trial.NONE)]
        findings._found[ZOO.defended(chain, seed)] = {
            ZOO.strongest(chain): {
                **through,
                "area_above_blending": np.array([0.2, 0.2]),
                "area_transferred": np.array([0.1, 0.2]),
                "area_without_chain": np.array([0.4, 0.6]),
                "squared_error": np.array([50.0, 60.0]),
            }
        }
    row = report._row(ZOO, findings, chain)
    assert row[report.SHARE].startswith("0.400 [")
    assert row["less than the plain VAE's"].startswith("0.300 [")
    assert row[common.ERROR].startswith("0.5238 [")


def test_what_all_models_on_trial_share_is_no_other_experiments():
    zoo = Zoo(scales.SCALES["cpu"], "sprites", None)
    sizes = {zoo.defended(setting, 0).option("image_size") for setting in trial.SETTINGS}
    assert sizes == {32}
    assert zoo.single(1.0).option("image_size") is None
