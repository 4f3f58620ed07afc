"""What Python shows of generated artifacts: a bar on a terminal, a grid in a notebook."""

import base64
import io
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import trimesh
from PIL import Image

from modalities.audio.clip import AudioClip
from modalities.shape.cloud import PointCloud
from modalities.shape.mesh_surface import MeshSurface
from multidiff.sampling.gallery import SHOWN, Gallery
from tests.sampling.images import pixels


class Terminal(io.StringIO):
    def isatty(self):
        return True


def pictures_in(page):
    found = re.findall(r"data:image/png;base64,([^\"]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_samples_are_a_list_that_a_notebook_shows_with_their_labels(pipeline):
    images = pipeline.sample(3, label=["3", "7", "1"], steps=2)
    assert isinstance(images, list)
    page = images._repr_html_()
    assert [picture.size for picture in pictures_in(page)] == [(8, 8)] * 3
    assert page.count("image-rendering:pixelated") == 3
    assert re.findall(r"<figcaption[^>]*>(\w+)<", page) == ["3", "7", "1"]
    assert pixels(pickle.loads(pickle.dumps(images))) == pixels(images)


def test_every_way_to_sample_gives_a_gallery(pipeline):
    (image,) = pipeline.sample(1, steps=1)
    assert type(pipeline.interpolate(0, 1, 2, steps=1)) is type(pipeline.variations(0, 2, steps=1)) is Gallery
    assert type(pipeline.sample(1, init=image, strength=0.5, steps=1)) is Gallery
    assert type(pipeline.inpaint(image, np.eye(8), steps=1, repeats=1)) is Gallery
    assert type(pipeline.extend(image, 4, steps=1, repeats=1)) is Gallery


def test_sounds_have_players_above_their_prompts():
    clips = [AudioClip(np.full((1, 100), 0.1, np.float32), 8000) for _ in range(2)]
    fields = [{"caption": "a <b> kick", "seconds": 0.5}, {"caption": None, "seconds": 1}]
    page = Gallery(clips, fields)._repr_html_()
    assert page.count("<audio controls") == 2
    assert re.findall(r"<figcaption[^>]*>([^<]+)<", page) == ["a &lt;b&gt; kick, seconds 0.5", "seconds 1"]


def test_shapes_are_pictures():
    cube = MeshSurface.of(trimesh.creation.box(), 200)
    page = Gallery([cube, PointCloud(np.eye(3))], [{"label": "cube"}, {}])._repr_html_()
    assert [max(picture.size) for picture in pictures_in(page)] == [256, 256]
    assert page.count("<figcaption") == 1


def test_a_single_mesh_is_a_3d_view_of_all_its_faces():
    box = trimesh.creation.box()
    views, reader = [], HTMLParser()
    reader.handle_starttag = lambda tag, attributes: views.append(dict(attributes)["srcdoc"])
    reader.feed(MeshSurface.of(box, 200)._repr_html_())
    (page,) = views
    (encoded,) = re.findall(r'"([A-Za-z0-9+/=]{500,})"', page)
    shown = trimesh.load(io.BytesIO(base64.b64decode(encoded)), file_type="glb", force="mesh")
    assert shown.area == pytest.approx(box.area)
    assert "</script>" in page


def test_captions_stay_with_their_samples_and_the_page_stays_small():
    clips = Gallery([Image.new("L", (1000, 500))] * SHOWN, [{"label": "large"}] * SHOWN)
    clips.insert(0, Image.new("L", (200, 200)))
    page = clips._repr_html_()
    assert [picture.size for picture in pictures_in(page)[:2]] == [(200, 200), (256, 128)]
    assert page.count("large") == SHOWN - 1
    assert page.endswith("<p>and 1 more</p>")
    assert Gallery([1.5])._repr_html_().count("1.5") == 1


@pytest.mark.parametrize(("output", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_a_bar_is_shown_on_terminals_alone(pipeline, monkeypatch, output, shown):
    written = output()
    monkeypatch.setattr("sys.stdout", written)
    pipeline.sample(2, steps=2, batch_size=1)
    assert ("sampling" in written.getvalue()) is shown


def test_the_part_that_is_done_grows_to_the_whole(pipeline):
    plan = pipeline.plan(4, steps=2, batch_size=2)
    assert [plan.done(rows, steps) for rows in plan.batches for steps in (0, 1, 2, 3)] == [
        *(0, 0.25, 0.5, 0.5),
        *(0.5, 0.75, 1, 1),
    ]
