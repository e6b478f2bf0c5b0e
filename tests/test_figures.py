import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seatbelt_tf import figures


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def shown(figure):
    """The images in the order drawn, back in [-1, 1] from their 8 bits."""
    return [np.asarray(image.get_array()) / 127.5 - 1 for image in figure.axes[0].images]


def origins(figure):
    """Left and top edge of each image, in pixels from the figure's upper left corner."""
    return [(image.get_extent()[0], image.get_extent()[3]) for image in figure.axes[0].images]


def draw_attack(rows=2, shape=(8, 8, 1), **options):
    images = [random_images(rows, *shape, seed=seed) for seed in range(5)]
    return figures.attack_panel(*images, **options)


def draw_training(length=40, **columns):
    table = {"step": np.arange(length), "elbo": np.linspace(-9.0, 5.0, length)}
    return figures.training_curves(table | columns)


EVERY_FIGURE = {
    "reconstructions": lambda: figures.reconstructions(
        random_images(5, 8, 8, 3), random_images(5, 8, 8, 3, seed=1), columns=3, title="β-VAE"
    ),
    "image_grid": lambda: figures.image_grid(random_images(9, 64, 64, 1), title="Prior samples"),
    "traversals": lambda: figures.traversals(
        random_images(2, 3, 8, 8, 1), labels=["z4[0]", "z4[2]"], values=[-3, 0, 3], title="Top"
    ),
    "attack_panel": lambda: draw_attack(labels=["λ = 1", "λ = 2"], title="Latent attack"),
    "training_curves": lambda: draw_training(
        val_elbo=np.where(np.arange(40) % 10 == 9, 1.0, np.nan), kl_layer_1=np.ones(40)
    ),
    "weight_curves": lambda: figures.weight_curves(
        [0.5, 1, 2], {"VAE": [1, 2, 3], "Seatbelt-VAE": ([1, 2, 3], [[0.5, 1, 2], [2, 3, 4]])}
    ),
    "distortion_curves": lambda: figures.distortion_curves(
        [0, 0.5, 1],
        {"attack": ([0, 0.8, 1], [[0, 0.7, 1], [0, 0.9, 1]]), "other": [0, 0.7, 1]},
        blending={"other": [0, 0.6, 1]},
    ),
}
every_figure = pytest.mark.parametrize("draw", EVERY_FIGURE.values(), ids=EVERY_FIGURE.keys())
SHEETS = ("reconstructions", "image_grid", "traversals", "attack_panel")


@every_figure
def test_every_function_returns_a_figure_on_an_agg_canvas(draw):
    figure = draw()
    assert isinstance(figure, Figure)
    assert isinstance(figure.canvas, FigureCanvasAgg)


def test_neither_pyplot_nor_tensorflow_is_needed_by_this_module():
    # Loaded by path: the package's own __init__ imports TensorFlow for the model.
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('figures', sys.argv[1])\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "sys.exit(bool({'matplotlib.pyplot', 'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, figures.__file__], check=True)


@every_figure
def test_the_same_data_give_the_same_bytes(draw, tmp_path):
    figure = draw()
    first = figures.save(figure, tmp_path / "first.png").read_bytes()
    again = figures.save(figure, tmp_path / "again.png").read_bytes()
    redrawn = figures.save(draw(), tmp_path / "redrawn.png").read_bytes()
    assert first == again == redrawn
    assert first.startswith(b"\x89PNG")
    assert b"Matplotlib" not in first


def test_figures_drawn_in_threads_equal_the_one_drawn_alone(tmp_path):
    def draw(index):
        return figures.save(draw_attack(), tmp_path / f"{index}.png").read_bytes()

    alone = draw("alone")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(draw, range(4))) == {alone}


@pytest.mark.parametrize("name", SHEETS)
def test_no_two_labels_of_a_sheet_overlap_each_other_or_an_image_or_leave_the_page(name):
    figure = EVERY_FIGURE[name]()
    renderer = figure.canvas.get_renderer()
    axes = figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    images = [image.get_window_extent(renderer) for image in axes.images]
    for index, box in enumerate(boxes):
        # Half a pixel of antialiasing is not an overlap.
        inner = box.padded(-0.5)
        assert not any(inner.overlaps(other) for other in boxes[index + 1 :] + images)
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize(("size", "enlargement"), [(64, 2), (32, 4), (28, 4), (200, 1)])
def test_small_images_are_enlarged_by_whole_numbers_onto_whole_pixels(tmp_path, size, enlargement):
    images = random_images(3, size, size, 3)
    figure = figures.image_grid(images, columns=2)
    page = matplotlib.image.imread(figures.save(figure, tmp_path / "grid.png"))[..., :3]
    for image, (left, top) in zip(images, origins(figure), strict=True):
        cell = page[int(top) :, int(left) :][: size * enlargement, : size * enlargement]
        wanted = np.kron(image, np.ones((enlargement, enlargement, 1)))
        # 8 bits: half a level is 1/255 in [-1, 1], and float32 adds a little.
        np.testing.assert_allclose(cell * 2.0 - 1, wanted, atol=1.01 / 255)


def test_large_images_are_reduced():
    figure = figures.image_grid(random_images(1, 1024, 512, 1))
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left, bottom - top) == (128, 256)


def test_each_reconstruction_is_right_below_its_input():
    images, outputs = random_images(5, 8, 8, 1), random_images(5, 8, 8, 1, seed=1)
    figure = figures.reconstructions(images, outputs, columns=3)
    # 5 pairs over 2 bands: 3 and 2.
    wanted = np.concatenate([images[:3], outputs[:3], images[3:], outputs[3:]])
    for drawn, image in zip(shown(figure), wanted, strict=True):
        np.testing.assert_allclose(drawn, np.repeat(image, 3, -1), atol=1.01 / 255)
    lefts, tops = zip(*origins(figure), strict=True)
    assert lefts == (*lefts[:3], *lefts[:3], *lefts[:2], *lefts[:2])
    assert tops[0] < tops[3] < tops[6] < tops[8]
    assert texts(figure) == ["input", "reconstruction"] * 2


def test_pairs_are_spread_evenly_over_the_rows():
    images = random_images(13, 8, 8, 1)
    lefts, tops = zip(*origins(figures.reconstructions(images, images)), strict=True)
    assert len(set(lefts)) == 7
    assert len(set(tops)) == 4


def test_a_grid_fills_row_by_row_and_may_end_early():
    figure = figures.image_grid(random_images(10, 8, 8, 3), columns=4, title="Prior samples")
    lefts, tops = zip(*origins(figure), strict=True)
    assert len(lefts) == 10
    assert len(set(lefts)) == 4
    assert len(set(tops)) == 3
    assert list(tops) == sorted(tops)
    assert texts(figure) == ["Prior samples"]


def test_display_clips_what_is_outside_the_pixel_box():
    image = np.array([-3.0, -1.0, 1.0, 1.2]).reshape(1, 2, 2, 1)
    (drawn,) = shown(figures.image_grid(image))
    assert drawn[..., 0].tolist() == [[-1, -1], [1, 1]]


def test_traversals_name_their_rows_and_columns():
    images = random_images(2, 3, 8, 8, 3)
    figure = figures.traversals(images, labels=["z4[2]", "z1[0]"], values=np.array([-1.5, 0, 1.5]))
    artists = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(artists) == {
        "z4[2]",
        "z1[0]",
        "−1.5",
        "0",
        "1.5",
        "latent value (standard deviations of its posterior means)",
    }
    assert artists["z4[2]"][1] < artists["z1[0]"][1]
    assert artists["−1.5"][0] < artists["0"][0] < artists["1.5"][0]
    for drawn, image in zip(shown(figure), images.reshape(6, 8, 8, 3), strict=True):
        np.testing.assert_allclose(drawn, image, atol=1.01 / 255)


def test_an_attack_panel_has_a_row_for_each_attack_and_a_header_for_each_column():
    images = [random_images(3, 8, 8, 3, seed=seed) for seed in range(6)]
    labels = ["λ = 1", "λ = 2", "λ = 4"]
    with_target = figures.attack_panel(*images, labels=labels)
    assert len(shown(with_target)) == 3 * 7
    assert [text for text in texts(with_target) if text in labels] == labels
    assert "target's\nreconstruction" in texts(with_target)
    without = figures.attack_panel(*images[:5])
    assert len(shown(without)) == 3 * 6
    assert "target's\nreconstruction" not in texts(without)
    for column, index in enumerate([0, 1, 2, 3, None, 4, 5]):
        if index is not None:
            wanted = images[index][1]
            np.testing.assert_allclose(shown(with_target)[7 + column], wanted, atol=1.01 / 255)


def test_the_distortion_is_scaled_to_be_seen_and_captioned_with_its_unscaled_norm():
    images = np.zeros((3, 4, 4, 1))
    adversarial = images.copy()
    adversarial[1, 0, 0], adversarial[1, 0, 1] = 0.03, -0.04
    adversarial[2] = 2.0  # more than the display holds: reduced
    figure = figures.attack_panel(images, images, adversarial, images, images)
    captions = [text for text in texts(figure) if "‖d‖₂" in text]
    # 1/0.04 = 25 to one digit is 20; 16 pixels of 2 have norm 8.
    assert captions == ["×1, ‖d‖₂ = 0", "×20, ‖d‖₂ = 0.05", "×0.5, ‖d‖₂ = 8"]
    nothing, small, large = (shown(figure)[6 * row + 4] for row in range(3))
    np.testing.assert_allclose(nothing, 0, atol=1.01 / 255)
    np.testing.assert_allclose(small[0, :2, 0], [0.6, -0.8], atol=1.01 / 255)
    np.testing.assert_allclose(large, 1)


@pytest.mark.parametrize(("largest", "scale"), [(1, 1), (0.25, 4), (0.1, 10), (1e-3, 1000)])
def test_a_round_reciprocal_is_not_floored_away(largest, scale):
    images = np.zeros((1, 4, 4, 1))
    figure = figures.attack_panel(images, images, images + largest, images, images)
    assert any(text.startswith(f"×{scale},") for text in texts(figure))


def test_one_distortion_scale_can_be_set_for_all_rows():
    captions = [text for text in texts(draw_attack(distortion_scale=0.25)) if "‖d‖₂" in text]
    assert all(caption.startswith("×0.25,") for caption in captions)


def test_training_panels_are_those_that_the_table_has_values_for():
    ones = np.ones(40)
    figure = draw_training(
        val_elbo=ones,
        log_likelihood=ones,
        kl_layer_1=ones,
        kl_layer_2=ones,
        learning_rate=ones,
        total_correlation=np.full(40, np.nan),
        something_else=ones,
    )
    wanted = ["ELBO (nats)", "log p(x | z) (nats)", "KL by layer (nats)", "learning rate"]
    assert [axes.get_ylabel() for axes in figure.axes] == wanted
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 2, 1]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "step", "step"]
    legends = [axes.get_legend() for axes in figure.axes]
    assert [text.get_text() for text in legends[0].get_texts()] == ["training", "validation"]
    assert [text.get_text() for text in legends[2].get_texts()] == ["layer 1", "layer 2"]


def test_layers_are_ordered_by_number():
    names = {f"kl_layer_{index}": np.ones(40) for index in (10, 2, 1)}
    legend = draw_training(**names).axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["layer 1", "layer 2", "layer 10"]


def test_sparse_validation_is_drawn_as_joined_markers_at_its_own_steps():
    validation = np.full(40, np.nan)
    validation[[9, 19, 39]] = [1.0, 2.0, 3.0]
    training, sparse = draw_training(val_elbo=validation).axes[0].lines
    assert training.get_marker() in (None, "None")
    assert sparse.get_marker() == "o"
    assert sparse.get_linestyle() == "-"
    assert sparse.get_xydata().tolist() == [[9, 1], [19, 2], [39, 3]]


def test_a_wild_start_of_training_goes_off_scale_and_the_panel_says_so():
    elbo = np.linspace(100.0, 200.0, 40)
    elbo[:2] = -1e6
    (axes,) = draw_training(elbo=elbo).axes
    low, high = axes.get_ylim()
    assert 0 < low < elbo[4:].min()  # steps 4 to 39 are the last nine tenths
    assert 200 < high < 300
    assert [text.get_text() for text in axes.texts] == ["start off scale"]


def test_a_tame_start_of_training_stays_in_view():
    (axes,) = draw_training().axes
    low, high = axes.get_ylim()
    assert low <= -9 < 5 <= high
    assert not axes.texts


def test_a_log_of_one_step_can_be_drawn(tmp_path):
    figure = draw_training(length=1)
    assert figure.axes[0].lines[0].get_marker() == "o"
    figures.save(figure, tmp_path / "one.png")


def test_weight_curves_are_sorted_by_weight_on_a_base_two_axis_with_their_interval():
    interval = np.array([[3.0, 0.5, 1.5], [5.0, 1.5, 2.5]])
    figure = figures.weight_curves(
        [4.0, 1.0, 2.0], {"VAE": ([4.0, 1.0, 2.0], interval), "β-VAE": [1, 1, 1]}, ylabel="Δ"
    )
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [2, 2], [4, 4]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.xaxis.get_transform().base == 2
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("λ", "Δ")
    (band,) = axes.collections
    vertices = {tuple(vertex) for vertex in band.get_paths()[0].vertices}
    assert {(1, 0.5), (1, 1.5), (2, 1.5), (2, 2.5), (4, 3), (4, 5)} <= vertices
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["VAE", "β-VAE"]
    assert legend.get_title().get_text() == "shaded: 95 % interval"


def test_distortion_curves_are_sorted_and_refuse_norms_beyond_the_target():
    (axes,) = figures.distortion_curves([1, 0, 0.5], {"attack": [1, 0, 0.8]}).axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [0.5, 0.8], [1, 1]]
    with pytest.raises(ValueError, match="norms"):
        figures.distortion_curves([0, 1.5], {"attack": [0, 1]})
    with pytest.raises(ValueError, match="blending"):
        figures.distortion_curves([0, 1], {"attack": [0, 1]}, blending={"atack": [0, 1]})


def test_two_weights_with_a_pair_of_means_are_not_taken_for_an_interval():
    (axes,) = figures.weight_curves([1, 2], {"VAE": (3.0, 4.0)}).axes
    assert axes.lines[0].get_ydata().tolist() == [3, 4]
    assert not axes.collections


def test_zeros_and_negatives_do_not_stretch_a_logarithmic_axis():
    curves = {"VAE": ([0.0, 1.0, 100.0], [[-1, 0.5, 50], [0, 2, 200]])}
    (axes,) = figures.weight_curves([1, 2, 4], curves).axes
    low, high = axes.get_ylim()
    assert 0.1 < low < 0.5
    assert 200 < high < 1000


def test_a_linear_axis_takes_negative_shares():
    (axes,) = figures.weight_curves([1, 2], {"VAE": [-0.2, 0.7]}, log=False).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < -0.2


def test_many_curves_differ_in_colour_or_line_style():
    curves = {str(index): [1.0, 2.0] for index in range(20)}
    (axes,) = figures.weight_curves([1, 2], curves).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 20


def test_saving_replaces_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    assert figures.save(draw_training(), str(path)) == path
    assert os.listdir(tmp_path) == ["figure.png"]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = draw_training()

    def fail(file, **options):
        file.write_bytes(b"half a figure")
        raise OSError("no space left")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="no space left"):
        figures.save(figure, path)
    assert os.listdir(tmp_path) == ["figure.png"]
    assert path.read_bytes() == b"old"


GOOD = np.zeros((2, 8, 8, 1))
NOT_FINITE = np.full((2, 8, 8, 1), np.nan)
STEP = {"step": [0, 1]}
INVALID = {
    "rank": ("images", lambda: figures.image_grid(GOOD[0])),
    "channels": ("images", lambda: figures.image_grid(np.zeros((2, 8, 8, 2)))),
    "empty": ("images", lambda: figures.image_grid(GOOD[:0])),
    "bytes": ("images", lambda: figures.image_grid(GOOD.astype(np.uint8))),
    "nan": ("images", lambda: figures.image_grid(NOT_FINITE)),
    "columns": ("columns", lambda: figures.image_grid(GOOD, columns=0)),
    "pairs": ("reconstructions", lambda: figures.reconstructions(GOOD, GOOD[:1])),
    "pair nan": ("reconstructions", lambda: figures.reconstructions(GOOD, NOT_FINITE)),
    "traversal rank": ("images", lambda: figures.traversals(GOOD)),
    "labels": ("labels", lambda: figures.traversals(GOOD[None], labels=["a", "b"])),
    "values": ("values", lambda: figures.traversals(GOOD[None], values=[1, 2, 3])),
    "values nan": ("values", lambda: figures.traversals(GOOD[None], values=[1, np.nan])),
    "adversarial": (
        "adversarial",
        lambda: figures.attack_panel(GOOD, GOOD, GOOD[:1], GOOD, GOOD),
    ),
    "adversarial_reconstructions": (
        "adversarial_reconstructions",
        lambda: figures.attack_panel(GOOD, GOOD, GOOD, NOT_FINITE, GOOD),
    ),
    "targets": ("targets", lambda: figures.attack_panel(GOOD, GOOD, GOOD, GOOD, GOOD[0])),
    "target_reconstructions": (
        "target_reconstructions",
        lambda: figures.attack_panel(GOOD, GOOD, GOOD, GOOD, GOOD, GOOD[:1]),
    ),
    "distortion_scale": ("distortion_scale", lambda: draw_attack(distortion_scale=0)),
    "attack labels": ("labels", lambda: draw_attack(labels=["only one"])),
    "no step": ("table", lambda: figures.training_curves({"elbo": [1, 2]})),
    "nothing to draw": (
        "table",
        lambda: figures.training_curves(STEP | {"elbo": [np.nan, np.nan]}),
    ),
    "step nan": (
        r"table\['step'\]",
        lambda: figures.training_curves({"step": [0, np.nan], "elbo": [1, 2]}),
    ),
    "column length": (
        r"table\['elbo'\]",
        lambda: figures.training_curves(STEP | {"elbo": [1, 2, 3]}),
    ),
    "weights": ("weights", lambda: figures.weight_curves([0, 1], {"VAE": [1, 2]})),
    "no curves": ("curves", lambda: figures.weight_curves([1, 2], {})),
    "curve length": (r"curves\['VAE'\]", lambda: figures.weight_curves([1, 2], {"VAE": [1]})),
    "curve nan": (r"curves\['VAE'\]", lambda: figures.weight_curves([1], {"VAE": [np.nan]})),
    "interval shape": (
        r"curves\['VAE'\]",
        lambda: figures.weight_curves([1, 2], {"VAE": ([1, 2], [[1, 2]])}),
    ),
    "interval order": (
        r"curves\['VAE'\]",
        lambda: figures.weight_curves([1, 2], {"VAE": ([1, 2], [[2, 3], [0, 1]])}),
    ),
    "log of nothing": ("curves", lambda: figures.weight_curves([1, 2], {"VAE": [0, -1]})),
    "file type": ("path", lambda: figures.save(Figure(), "figure.pdf")),
}


@pytest.mark.parametrize(("name", "call"), INVALID.values(), ids=INVALID.keys())
def test_invalid_arguments_are_named(name, call):
    with pytest.raises(ValueError, match=rf"^Invalid value for {name}\. Expected .*Received: "):
        call()
