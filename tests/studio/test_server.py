"""The page's server: what its API answers, and what it keeps to itself."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from multidiff.studio.engine import Studio
from multidiff.studio.history import History
from multidiff.studio.limits import Limits
from multidiff.studio.server import Address, serve
from tests.cli.command import refused


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    history = History(tmp_path_factory.mktemp("server") / "history")
    studio = Studio(models, history, Limits(samples=8, steps=10_000, upload=1))
    blocks, url = serve(studio, Address(port=None, auth=None), block=False)
    yield studio, url
    blocks.close()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    return Client(server[1], verbose=False, download_files=str(tmp_path_factory.mktemp("client")))


def test_the_models_are_listed(client):
    (model,) = client.predict(api_name="/models")
    assert (model["name"], model["modality"], model["shape"]) == ("digits", "image", [1, 8, 8])
    assert model["fields"] == {"label": "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"}


def test_an_answer_has_the_files_and_the_plan_of_what_was_asked(server, client):
    answer = client.predict(model="digits", fields={"label": "3"}, n=2, steps=2, seed=9, api_name="/generate")
    assert [Image.open(path).size for path in answer["files"]] == [(8, 8)] * 2
    assert answer["plan"]["seeds"] == {"kind": "seeded", "seed": 9}
    assert server[0].settings_in(Path(answer["files"][1])).request.seed == 9
    assert str(server[0].models.places["digits"]) not in json.dumps(answer["plan"])


@pytest.mark.parametrize(
    ("wrong", "saying"),
    [
        ({"model": "x"}, "no model is called"),
        ({"model": ["x"]}, r"model is a text, not \['x'\]"),
        ({"negative": {"label": "3"}}, "negative is a text"),
        ({"guidance": "a < b", "fields": {"label": "3"}}, "the guidance scale is a number, not 'a < b'"),
        ({"n": 99}, "samples from 1 to 8, got 99"),
        ({"n": "2"}, "n is an integer"),
        ({"steps": 2.5}, "steps is an integer"),
        ({"fields": [1]}, "fields is an object"),
        ({"sampler": "a.yaml"}, "there is no 'a.yaml'"),
    ],
)
def test_a_wrong_request_is_answered_in_a_line(client, wrong, saying):
    with pytest.raises(AppError, match=saying):
        client.predict(**{"model": "digits", "steps": 2, **wrong}, api_name="/generate")


def test_answers_are_not_crossed(server):
    def ask(i):
        client = Client(server[1], verbose=False, download_files=False)
        try:
            seed = client.predict(model="digits", seed=i, steps=1 if i % 3 else 0, api_name="/generate")["plan"][
                "seeds"
            ]
            return seed["seed"]
        except AppError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(12)))
    for i, found in enumerate(answers):
        assert found == i if i % 3 else "steps from 1" in found


def test_a_job_is_stopped_and_the_next_one_runs(server, client):
    job = client.submit(model="digits", n=8, steps=10_000, api_name="/generate")
    assert length(server[0].line, 1)
    assert client.predict(api_name="/stop")
    with pytest.raises(AppError, match="stopped"):
        job.result(timeout=60)
    assert client.predict(model="digits", steps=1, api_name="/generate")["files"]


@pytest.mark.slow
def test_a_job_that_waits_is_stopped_by_its_own_client_and_ends_with_it(server, client):
    studio = server[0]
    before = len(studio.history.search())
    with studio.line.place("another visitor"):
        waits = Client(server[1], verbose=False, download_files=False)
        job = waits.submit(model="digits", steps=1, api_name="/generate")
        assert length(studio.line, 2)
        assert not client.predict(api_name="/stop")
        assert waits.predict(api_name="/stop")
        with pytest.raises(AppError, match="stopped"):
            job.result(timeout=60)
        waits.submit(model="digits", steps=1, api_name="/generate")
        assert length(studio.line, 2)
        waits.close()
        assert length(studio.line, 1)
    assert len(studio.history.search()) == before


def length(line, wanted):
    """Whether as many requests are in the line within 30 s."""
    for _ in range(300):
        if len(line) == wanted:
            return True
        threading.Event().wait(0.1)
    return False


def test_no_file_of_the_machine_is_readable(server):
    _, url = server
    secret = server[0].history.folder / "secret.txt"
    secret.write_text("secret")
    model = server[0].models.places["digits"] / "model" / "config.yaml"
    for path in ("/etc/passwd", str(secret), str(secret.parent / "history.sqlite"), str(model)):
        for route in ("gradio_api/file=", "file=", "gradio_api/file/"):
            assert httpx.get(f"{url}{route}{path}", follow_redirects=True).status_code in (403, 404, 405)
    results = server[0].history.results
    assert httpx.get(f"{url}gradio_api/file={results}/../secret.txt").status_code in (403, 404)


def test_a_file_above_the_limit_is_not_uploaded(server):
    def upload(size):
        return httpx.post(f"{server[1]}gradio_api/upload", files={"files": ("a.png", b"0" * size)})

    assert upload(1000).status_code == 200
    assert upload(2**21).status_code == 413


def test_a_password_is_required_where_one_is_set(models, tmp_path):
    blocks, url = serve(Studio(models, History(tmp_path)), Address(port=None, auth=("ada", "lovelace")), block=False)
    try:
        assert httpx.get(f"{url}config").status_code == 401
        with pytest.raises(Exception, match=r"(?i)credentials|auth|login"):
            Client(url, verbose=False)
        assert Client(url, verbose=False, auth=("ada", "lovelace")).predict(api_name="/models")
    finally:
        blocks.close()


def test_wrong_options_are_explained(run_dir, tmp_path):
    refused("studio", "missing", cwd=tmp_path, saying="there is no model at")
    refused("studio", run_dir, "--auth", "ada", "--history", "kept", cwd=tmp_path, saying="USER:PASSWORD")
    refused("studio", run_dir, "--sampler", "fast.yaml", cwd=tmp_path, saying="there is no file")
    refused("studio", run_dir, "--max-steps", 0, cwd=tmp_path, saying="limit of steps")
