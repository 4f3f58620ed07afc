"""From a codec of shapes to generated meshes: training, latent diffusion, sampling."""

import pytest
import trimesh

from modalities.shape import mesh_surface
from modalities.shape.mesh_surface import MeshSurface, without_specks
from modalities.shape.modality import COMPARED_POINTS, READ_POINTS
from multidiff import load
from multidiff.configuration import compose
from multidiff.errors import InputError
from multidiff.evaluation import EvaluationRun, EvaluationSettings
from multidiff.evaluation.sources import Real
from multidiff.training.train import train

pytest.importorskip("igl")

SMALL = (
    "data.points=64",
    "data.stored=128",
    "loader.batch_size=4",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "callbacks.previews.every=2",
    "callbacks.previews.count=4",
)
QUERIES, FEW = "data.queries=64", "data.count=16"
NETWORK = (
    "autoencoder.width=40",
    "autoencoder.head_size=8",
    "autoencoder.latents=8",
    "autoencoder.encoder_depth=1",
    "autoencoder.decoder_depth=1",
    "autoencoder.resolution=16",
)
LATENT = (
    "codec.views=2",
    "backbone.width=40",
    "backbone.head_size=8",
    "backbone.depth=1",
)


@pytest.fixture(scope="module", autouse=True)
def _rough():
    """Meshes are not smoothed, which takes a second each and has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_surface, "smoothed", lambda mesh: mesh)
        yield


def trained(run_dir, experiment, *overrides):
    """The directory of a training for two steps."""
    config = compose([f"experiment={experiment}", *SMALL, *overrides])
    config.run_dir = str(run_dir)
    return train(config).run_dir


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("codec") / "run", "codec/furniture", QUERIES, FEW, *NETWORK)


@pytest.fixture(scope="module")
def run_dir(codec, tmp_path_factory):
    """Of a latent diffusion model."""
    own = (QUERIES, FEW, *LATENT, f"codec.path={codec}")
    return trained(tmp_path_factory.mktemp("latent") / "run", "shape/furniture_latent", *own)


@pytest.fixture(scope="module")
def pipeline(run_dir):
    return load(run_dir)


def test_a_latent_diffusion_model_generates_watertight_meshes(codec, pipeline, tmp_path):
    assert (codec / "previews" / "step_00000002.png").is_file()
    assert pipeline.shape == (16, 8)
    assert pipeline.data_shape == (1, 16, 16, 16)
    shapes = pipeline.sample(2, label="chair", steps=2)
    (finer,) = pipeline.sample(1, label="chair", steps=1, fields={"resolution": 24})
    assert len(finer.mesh.faces) > len(pipeline.sample(1, label="chair", steps=1)[0].mesh.faces)
    assert pipeline.data_shape == (1, 16, 16, 16)
    with pytest.raises(InputError, match="shapes have one setting: resolution"):
        pipeline.plan(1, fields={"points": 9})
    assert all(isinstance(shape, MeshSurface) and shape.mesh.is_watertight for shape in shapes)
    pipeline.modality.write(shapes[0], tmp_path / "chair.glb", {})
    assert trimesh.load_mesh(tmp_path / "chair.glb").is_watertight
    pipeline.modality.write(shapes[0], tmp_path / "chair.ply", {})
    exported = tmp_path / "exported.glb"
    pipeline.modality.exporter(".glb", {})(pipeline.modality.read(tmp_path / "chair.ply"), exported, {})
    assert len(trimesh.load_mesh(exported).faces) == len(shapes[0].mesh.faces)


def test_a_latent_set_is_of_all_points_and_varied_as_a_whole(pipeline):
    cube = MeshSurface.of(trimesh.creation.box((1, 1.5, 1)), READ_POINTS)
    assert pipeline.modality.fitted(cube, pipeline.data_shape).shape == (6, READ_POINTS)
    assert pipeline.sample(1, init=cube, strength=0.5, steps=2, label="chair")[0].mesh.is_watertight
    with pytest.raises(InputError, match="give strength, not mask"):
        pipeline.inpaint(cube, 0.5, steps=2, label="chair")
    with pytest.raises(InputError, match="a shape has no end that could be extended"):
        pipeline.extend(cube, 1, steps=2, label="chair")


def test_the_size_of_meshes_is_the_resolution_of_their_volume(pipeline):
    assert pipeline.modality.sizes(pipeline.data_shape) == {"resolution": 16}
    assert pipeline.modality.settings_for(pipeline.data_shape) == {"points": COMPARED_POINTS}


@pytest.mark.slow
def test_reconstructions_of_held_out_shapes_are_scored(codec):
    """Also of data without distances."""
    run = EvaluationRun(scoring("furniture points=64 stored=128 count=40", codec))
    fidelity = run.facts["fidelity"]
    assert run.facts["compared"] == 20
    assert fidelity.keys() == {"f_score", "chamfer_l1", "normal_consistency", "watertight"}
    assert fidelity["watertight"] == 1
    assert run.result().evaluation.protocol["generated"]["fidelity"] == fidelity


@pytest.mark.parametrize(
    "data", ["furniture points=64", pytest.param("furniture_distances points=64 queries=64", marks=pytest.mark.slow)]
)
def test_generated_meshes_are_compared_with_as_many_points_of_real_shapes(run_dir, data):
    run = EvaluationRun(scoring(f"{data} stored=128 count=40", run_dir))
    assert {len(shape) for source in (run.source, Real(run.reference, [0])) for shape in source.first(2)} == {64}
    assert "1nna_chamfer" in run.result().evaluation.sets.together


def test_data_of_another_form_are_refused(run_dir):
    with pytest.raises(
        InputError, match=r"--data furniture points=7 count=40: this codec encodes points with normals, \(6, 8 or more"
    ):
        EvaluationRun(scoring("furniture points=7 count=40", run_dir))


def scoring(data, model):
    return EvaluationSettings(data, str(model), samples=20, features="point_encoder steps=3", holdout=0.5)


@pytest.mark.slow
def test_own_meshes_train_a_codec_and_a_model_of_its_latents(tmp_path):
    for i in range(40):
        label = ("flat", "tall")[i % 2]
        (tmp_path / "meshes" / label).mkdir(parents=True, exist_ok=True)
        trimesh.creation.box((1, 0.5 + i % 2 + i / 100, 1)).export(tmp_path / "meshes" / label / f"{i}.stl")
    root = f"data.root={tmp_path / 'meshes'}"
    codec = trained(tmp_path / "codec", "codec/shape", root, QUERIES, *NETWORK)
    own = (root, QUERIES, f"codec.path={codec}", "loader.workers=0", *LATENT)
    pipeline = load(trained(tmp_path / "run", "shape/mesh_folder_latent", *own))
    assert pipeline.model.conditioner.reads == ("label",)
    assert pipeline.sample(1, label="tall", steps=1)[0].mesh.is_watertight
    data = f"mesh_distances root={tmp_path / 'meshes'} points=64 queries=16 stored=128"
    assert EvaluationRun(scoring(data, codec)).facts["compared"] == 20


def test_what_hangs_beside_a_decoded_mesh_is_dropped():
    cube, speck = trimesh.creation.box((1, 1, 1)), trimesh.creation.box((0.05, 0.05, 0.05))
    speck.apply_translation((0, 2, 0))
    kept = without_specks(trimesh.util.concatenate([cube, speck]))
    assert kept.is_watertight
    assert kept.area == pytest.approx(cube.area)
    large = trimesh.util.concatenate([cube, cube.copy().apply_translation((0, 2, 0))])
    assert without_specks(large) is large


def test_data_without_distances_are_refused(tmp_path):
    with pytest.raises(InputError, match="data=furniture_distances or data=mesh_distances"):
        trained(tmp_path / "run", "codec/furniture", "data=furniture", FEW)


def test_a_codec_needs_as_many_points_as_latents(codec, tmp_path):
    own = (*LATENT, FEW, f"codec.path={codec}", "data=furniture", "data.points=7")
    with pytest.raises(InputError, match=r"encodes points with normals, \(6, 8 or more\)"):
        trained(tmp_path / "run", "shape/furniture_latent", *own)


def test_queries_are_not_encoded_in_place_of_points(codec, tmp_path):
    own = (*LATENT, QUERIES, FEW, f"codec.path={codec}", "data.points=63")
    with pytest.raises(InputError, match=r"encodes 64 surface points .* set data\.points=64"):
        trained(tmp_path / "run", "shape/furniture_latent", *own)
