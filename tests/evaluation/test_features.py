"""Features are reproducible in batches of any size; pretrained networks load from local files only."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import (
    BitImageProcessor,
    CLIPImageProcessor,
)

from modalities.image.data import Digits, Labelled
from modalities.image.features import Encoder, rgb_levels
from modalities.image.modality import ImageModality
from modalities.image.pretrained import CLIP, IMAGENET, INCEPTION, DINOv2, Inception
from multidiff.errors import InputError
from multidiff.evaluation import Reference
from multidiff.evaluation.features import extract
from multidiff.evaluation.sources import Real
from multidiff.sampling.processes import Processes
from tests.evaluation.weights import save_clip, save_dinov2, save_inception

GRAY = ImageModality(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return Reference(GRAY, Digits(GRAY), holdout=0.1, seed=0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def encoder(digits, cache):
    return Encoder(steps=60, cache=cache).extractor(digits, CPU)


def unlabelled(reference):
    dataset = Labelled(reference.dataset.pixels, [], (), white=16)
    dataset.fields = {}
    return replace(reference, dataset=dataset)


class TestEncoder:
    def test_it_classifies_held_out_digits(self, encoder):
        assert encoder.facts["accuracy on held-out data"] > 0.7
        assert encoder.class_names == tuple("0123456789")

    def test_it_is_trained_only_once(self, digits, cache, encoder, monkeypatch):
        monkeypatch.setattr("multidiff.evaluation.encoder._train", None)
        assert Encoder(steps=60, cache=cache).extractor(digits, CPU).sha256 == encoder.sha256

    def test_training_it_again_gives_the_same_weights(self, digits, tmp_path):
        hashes = set()
        for run in ("a", "b"):
            torch.manual_seed(len(hashes))  # earlier random numbers do not matter
            hashes.add(Encoder(steps=3, cache=tmp_path / run).extractor(digits, CPU).sha256)
        assert len(hashes) == 1

    @pytest.mark.parametrize("name", ["encoder.safetensors", "facts.json"])
    @pytest.mark.parametrize("content", [None, b"", b"[]"])
    def test_a_damaged_one_is_trained_again(self, digits, tmp_path, name, content):
        first = Encoder(steps=1, cache=tmp_path).extractor(digits, CPU).sha256
        (file,) = tmp_path.rglob(name)
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        assert Encoder(steps=1, cache=tmp_path).extractor(digits, CPU).sha256 == first

    def test_training_it_leaves_the_random_state_alone(self, digits, tmp_path):
        before = torch.get_rng_state()
        Encoder(steps=1, cache=tmp_path).extractor(digits, CPU)
        assert torch.equal(before, torch.get_rng_state())

    def test_held_out_data_are_never_used(self, digits, tmp_path, monkeypatch):
        used = []
        original = Reference.artifact
        monkeypatch.setattr("multidiff.evaluation.encoder.accuracy", lambda *_: 0.5)
        monkeypatch.setattr(Reference, "artifact", lambda self, i: used.append(i) or original(self, i))
        Encoder(steps=25, cache=tmp_path).extractor(digits, CPU)
        assert len(set(used)) > len(digits.training) / 2
        assert not set(used) & set(digits.held_out)

    @pytest.mark.slow
    def test_without_classes_it_learns_from_rotations(self, digits, tmp_path):
        extractor = Encoder(steps=60, cache=tmp_path).extractor(unlabelled(digits), CPU)
        assert extractor.class_names == ()
        assert extractor.facts["accuracy on held-out data"] > 0.4  # chance is a quarter
        assert extractor.extract([digits.artifact(0)] * 2).classes is None

    def test_other_data_or_another_split_trains_another(self, digits, tmp_path, encoder):
        other = Encoder(steps=60, cache=tmp_path)
        keys = set()
        for reference in (digits, replace(digits, seed=1), unlabelled(digits)):
            Encoder(steps=1, cache=other.cache).extractor(reference, CPU)
            keys = {path.name for path in (tmp_path / "encoders").iterdir()}
        assert len(keys) == 3

    def test_it_needs_at_least_one_step(self):
        with pytest.raises(InputError, match="at least 1 step"):
            Encoder(steps=0)


def test_later_samples_change_no_bit(digits, encoder):
    """40 of 180: the last block is not full."""
    few = extract(encoder, Real(digits, digits.held_out[:40]), Processes())
    many = extract(encoder, Real(digits, digits.held_out), Processes())
    assert torch.equal(few.features, many.features[:40])


def images(digits, count=3):
    return [digits.artifact(i) for i in range(count)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / INCEPTION
    save_inception(path)
    return path


class TestInception:
    @pytest.mark.slow
    def test_its_features_come_from_the_file(self, digits, weights):
        extractor = Inception(weights).extractor(digits, CPU)
        features = extractor.extract(images(digits)).features
        theirs = FeatureExtractorInceptionV3("theirs", ["2048"], str(weights))
        assert features.shape == (3, 2048)
        assert torch.equal(features, theirs(rgb_levels(images(digits)))[0])
        assert len(extractor.sha256) == 64

    def test_a_missing_file_is_named_with_its_source(self, digits, tmp_path, monkeypatch):
        monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
        with pytest.raises(InputError, match=rf"not at {tmp_path}/weights/{INCEPTION}: put https://.*there, or give"):
            Inception().extractor(digits, CPU)

    def test_a_damaged_file_is_named(self, digits, tmp_path):
        (tmp_path / "w.pth").write_bytes(b"no weights")
        with pytest.raises(InputError, match=r"w\.pth is damaged or not torch-fidelity's"):
            Inception(tmp_path / "w.pth").extractor(digits, CPU)

    def test_a_file_that_would_run_code_is_refused(self, digits, tmp_path):
        torch.save({"a": print}, tmp_path / "w.pth")
        with pytest.raises(InputError, match="damaged or not"):
            Inception(tmp_path / "w.pth").extractor(digits, CPU)


def processed(processor, pictures):
    """The inputs by a processor of transformers."""
    return processor([picture.convert("RGB") for picture in pictures], return_tensors="pt")["pixel_values"]


def assert_alike(ours, theirs):
    """Much closer than features of different images; their resize, of another library, rounds to 8 bits."""
    assert (ours - theirs).norm(dim=1).max() < 0.05 * torch.pdist(theirs).min()


class TestTransformers:
    def test_dinov2_is_the_class_token_for_inputs_of_its_processor(self, digits, tmp_path):
        network = save_dinov2(tmp_path)
        extractor = DINOv2(tmp_path).extractor(digits, CPU)
        processor = BitImageProcessor(size={"shortest_edge": 224}, image_mean=IMAGENET[0], image_std=IMAGENET[1])
        with torch.no_grad():
            expected = network(processed(processor, images(digits))).last_hidden_state[:, 0]
        assert_alike(extractor.extract(images(digits)).features, expected)
        assert "224" in extractor.preprocessing

    def test_clip_is_the_unit_embedding_for_inputs_of_its_processor_with_the_kernel_of_cmmd(self, digits, tmp_path):
        network = save_clip(tmp_path)
        extractor = CLIP(tmp_path).extractor(digits, CPU)
        with torch.no_grad():
            processor = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=28)
            expected = F.normalize(network(processed(processor, images(digits))).image_embeds, dim=1)
        features = extractor.extract(images(digits)).features
        assert_alike(features, expected)
        assert torch.allclose(features.norm(dim=1), torch.ones(3))
        assert extractor.gaussian_width == 10

    @pytest.mark.parametrize("kind", [DINOv2, CLIP])
    def test_a_missing_folder_is_named_with_its_files(self, kind, digits, tmp_path, monkeypatch):
        monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
        with pytest.raises(
            InputError, match=rf"not at {tmp_path}/weights/\w+/: put config\.json and model.safetensors of"
        ):
            kind().extractor(digits, CPU)

    def test_weights_of_another_model_are_refused(self, digits, tmp_path):
        """transformers would fill in random ones, with a warning."""
        save_dinov2(tmp_path)
        save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match="lacks weights of a Dinov2Model"):
            DINOv2(tmp_path).extractor(digits, CPU)
