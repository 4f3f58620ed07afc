"""`multidiff evaluate` for shapes: the encoder, scores of sets, files of other programs, and reproducible scores."""

import json

import numpy as np
import pytest
import torch

from modalities.image.data import Digits
from modalities.image.modality import ImageModality
from modalities.shape.data import Furniture
from modalities.shape.features import PointEncoder, PointNetwork, disturbed
from modalities.shape.furniture import make
from modalities.shape.modality import ShapeModality
from modalities.shape.solids import union
from multidiff.errors import InputError
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.set_scores import matched
from tests.cli.command import multidiff, refused
from tests.modalities.shape.test_metrics import clouds
from tests.training.processes import together

LABELS = ("bottle", "table")
DATA = "furniture points=64 stored=128 count=120 labels=[bottle,table]"
QUICK = ("--features", "point_encoder steps=30", "--holdout", 0.4)
CPU = torch.device("cpu")


def reference(cache, count=120, holdout=0.4, points=64):
    modality = ShapeModality(6)
    return Reference(modality, Furniture(modality, points, count, stored=128, labels=LABELS, cache=cache), holdout, 0)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def samples(work):
    """Other furniture of the same kinds, as a perfect model would generate it, in folders by class."""
    modality = ShapeModality(6)
    unseen = Furniture(modality, 64, 40, stored=128, labels=LABELS, seed=1, cache=work / "cache")
    for i, label in enumerate(unseen.labels):
        cloud = modality.to_artifact(unseen.data(i, np.random.default_rng(i)))
        modality.write(cloud, work / "samples" / label / f"{i:02d}.ply", {})
    return work / "samples"


def evaluated(work, *arguments):
    done = multidiff("evaluate", *arguments, *QUICK, "--json", "scores.json", cwd=work)
    assert done.returncode == 0, done.stderr
    return (work / "scores.json").read_text(), done.stdout


@pytest.fixture(scope="module")
def record(work, samples):
    return evaluated(
        work, "--generated", samples, "--modality", "shape channels=6", "--data", DATA, "--report", "report.html"
    )


class TestEncoder:
    @pytest.mark.parametrize("points", [1, 40, 300])
    def test_it_takes_any_number_of_points_in_any_order(self, points):
        torch.manual_seed(0)
        network, x = PointNetwork(3).eval(), clouds(2, points).mT
        shuffled = x[:, :, torch.randperm(points, generator=torch.Generator().manual_seed(1))]
        for one, other in zip(network(x), network(shuffled), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_it_classifies_shapes_that_it_was_not_trained_on(self, tmp_path):
        real = reference(tmp_path)
        extractor = PointEncoder(30, tmp_path).extractor(real, CPU)
        assert extractor.class_names == LABELS
        assert extractor.facts["accuracy on held-out data"] > 0.9

    @pytest.mark.slow
    def test_without_classes_it_classifies_rotations(self, tmp_path):
        real = reference(tmp_path)
        real.dataset.fields = {}
        extractor = PointEncoder(30, tmp_path).extractor(real, CPU)
        assert extractor.class_names == ()
        assert extractor.facts["accuracy on held-out data"] > 0.4  # chance is a quarter

    def test_its_examples_are_augmented(self):
        points = clouds(1, 700)[0].numpy()
        augmented = disturbed(points, np.random.default_rng(0))
        assert augmented.shape == (512, 3)
        assert np.abs(augmented).max() < 1.1 * np.abs(points).max() + 0.1

    def test_other_modalities_are_refused(self):
        digits = Reference(ImageModality(1), Digits(ImageModality(1)), 0.1, 0)
        with pytest.raises(InputError, match="of the modality image"):
            PointEncoder(1).extractor(digits, CPU)


def test_sets_hold_equally_many_of_each_class(tmp_path):
    real = reference(tmp_path)
    requested = ["bottle"] * 30 + ["table"] * 4
    (generated, held_out, training), counts = matched(requested, real, largest=20)
    assert counts == {"bottle": 10, "table": 4}
    assert generated == [*range(10), *range(30, 34)]
    assert [real.label(i) for i in held_out] == [real.label(i) for i in training] == ["bottle"] * 10 + ["table"] * 4
    assert set(held_out) <= set(real.held_out)
    assert set(training) <= set(real.training)
    assert matched(["a tall table"] * 30, real, largest=20)[1] == {None: 20}


@pytest.mark.slow
def test_real_shapes_score_as_real_shapes(record):
    text, printed = record
    found = json.loads(text)
    sets = found["sets"]
    count = sets["count"]
    assert set(sets["classes"]) == set(LABELS)
    assert sum(part["count"] for part in sets["classes"].values()) == count
    error = 0.5 / count**0.5  # an upper bound, for 2 count samples whose nearest neighbours come in pairs
    for scores in (sets["scores"], sets["mean_of_classes"]):
        for kind in ("chamfer", "earth_mover"):
            assert abs(scores[f"1nna_{kind}"]["value"] - 0.5) < 4 * error
            assert scores[f"mmd_{kind}"]["value"] < 2 * scores[f"mmd_{kind}"]["floor"]
    assert found["classifier"]["accuracy"] > 0.9
    divergence = sets["scores"]["occupancy_divergence"]
    assert divergence["value"] < 1.2 * divergence["floor"]
    for words in ("1nna_chamfer", "bounding_box", "512 points", "mean", *LABELS, "accuracy on held-out data"):
        assert words in printed
    assert found["protocol"]["sets"]["normalisation"] == "bounding_box"


def evaluate_in_one_of_several(rank, work, arguments):
    assert multidiff("evaluate", *arguments, *QUICK, "--json", "several.json", cwd=work).returncode == 0


@pytest.mark.slow
def test_processes_and_batches_change_no_digit(work, samples, record):
    arguments = ("--generated", samples, "--modality", "shape channels=6", "--data", DATA, "--batch-size", 1)
    together(2, evaluate_in_one_of_several, work, arguments, log=work / "log")
    assert (work / "several.json").read_text() == record[0]


@pytest.mark.slow
def test_the_report_shows_the_shapes(work, record):
    page = (work / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert "1nna chamfer" in page


@pytest.mark.slow
def test_meshes_of_other_programs_are_compared_with_a_folder_of_meshes(work):
    for folder, seeds in (("true", range(50)), ("others", range(50, 72))):
        for seed in seeds:
            mesh = union(make("mug", np.random.default_rng(seed)).parts)
            mesh.apply_scale(1 if folder == "true" else 1000)  # in millimetres
            path = work / folder / f"{seed}.{'glb' if folder == 'true' else 'stl'}"
            path.parent.mkdir(exist_ok=True)
            mesh.export(path)
    data = f"mesh_folder root={work / 'true'} points=64 stored=2048"
    text, _ = evaluated(work, "--generated", work / "others", "--modality", "shape channels=6", "--data", data)
    found = json.loads(text)
    assert found["classifier"] is None
    assert found["sets"]["classes"] == {}
    assert found["sets"]["scores"]["1nna_chamfer"]["value"] < 0.8
    (work / "others" / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    refused(
        "evaluate", "--generated", work / "others", "--modality", "shape channels=6", "--data", data, *QUICK,
        cwd=work, saying="flat.obj",
    )  # fmt: skip
