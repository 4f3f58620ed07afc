"""Tar shards of pictures in which every pixel is the number of the picture, and of tones; folders over HTTP."""

import io
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import soundfile
import webdataset
from PIL import Image

from modalities.image.modality import ImageModality
from multidiff.data.streaming.shards import ShardDataset
from multidiff.training.datamodule import Batches, Stream, collate

SIDE = 16
COUNT, EACH = 8, 9


def picture(number):
    """Gray, of that level, as a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE), number, np.uint8)).save(file, "png")
    return file.getvalue()


def tone(number):
    """A quarter of a second at 8 kHz, as a WAV."""
    file, time = io.BytesIO(), np.arange(2000) / 8000
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * (200 + 50 * number) * time), 8000, format="WAV")
    return file.getvalue()


def write_shards(folder, count, each, encode=picture, suffix="png"):
    """``count`` tars of ``each`` samples, numbered through, with classes and captions; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(count):
        with webdataset.TarWriter(str(folder / f"{shard:03}.tar")) as tar:
            for number in range(shard * each, (shard + 1) * each):
                known = {
                    "cls": str(number % 3),
                    "txt": f"number {number}",
                    "json": {"parity": ["even", "odd"][number % 2]},
                }
                tar.write({"__key__": f"{number:05}", suffix: encode(number), **known})
    return folder


def images(shards, **settings):
    return ShardDataset(ImageModality(1), str(shards), **{"size": SIDE, "mix": 3, **settings})


def number(x0):
    """Which picture it is."""
    return round((x0.flatten()[0].item() + 1) * 127.5)


def numbers(dataset, start, stop, rank=0, processes=1, size=6):
    stream = Stream(dataset, range(len(dataset)), seed=0)
    batches = [collate([stream[p] for p in places]) for places in Batches(size, start, stop, rank, processes)]
    return [number(x0) for batch in batches for x0 in batch["data"]]


@contextmanager
def served(folder):
    """The folder over HTTP; yields its URL and the paths that were asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
