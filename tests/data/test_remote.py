"""Remote folders: hostile listings, servers that state no sizes, and file systems whose paths lack the host."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from multidiff.data.streaming.folder_copy import folder_at
from multidiff.data.streaming.remote import files_below, find_files
from multidiff.errors import InputError

pytestmark = pytest.mark.usefixtures("cache")


class Hosted(MemoryFileSystem):
    """Like FTP: the host is an argument of the file system, and absent from paths."""

    protocol = "hosted"
    listed = ("/data/a.tar", "/data/deep/b.tar")

    def __init__(self, host, **settings):
        super().__init__(**settings)

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("hosted://").partition("/")[2] if "://" in path else path

    @staticmethod
    def _get_kwargs_from_urls(url):
        return {"host": url.removeprefix("hosted://").partition("/")[0]}

    def find(self, path, **settings):
        return {name: self.info(name) for name in self.listed}

    def info(self, path, **settings):
        return {"name": path, "size": 1, "type": "file"}

    def glob(self, path, **settings):
        return ["/data/a.tar"]


fsspec.register_implementation("hosted", Hosted)


@contextmanager
def serving(page, content=None):
    """A server whose page ``/t`` is ``page`` and whose files have this content, or no stated length; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            is_page = self.path.rstrip("/") == "/t"
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if is_page else "application/octet-stream")
            if content is not None and not is_page:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(page.encode() if is_page else content or b"")

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("root", ["hosted://me:word@host:21/data", "hosted://me:word@host:21/data/"])
def test_files_of_a_host_keep_it(root):
    found = files_below(root)
    assert {name: file.url for name, file in found.items()} == {
        name: f"hosted://me:word@host:21/data/{name}" for name in ("a.tar", "deep/b.tar")
    }
    (shard,) = find_files(f"{root.rstrip('/')}/*.tar", ".tar")
    assert shard.url == "hosted://me:word@host:21/data/a.tar"


@pytest.mark.parametrize("name", ["/data/../../victim", "/etc/victim", "/data/deep/../../../victim", "/data2/victim"])
def test_a_listing_that_leads_elsewhere_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Hosted, "listed", ("/data/a.tar", name))
    with pytest.raises(InputError, match=rf"^hosted://host/data lists {name}, which points outside it"):
        folder_at("hosted://host/data", tmp_path / "cache", 10**9)
    assert not list(tmp_path.rglob("victim"))


@pytest.mark.parametrize("link", ["../../victim", "%2e%2e/%2e%2e/victim", "/t/../../victim", "./a/../../../victim"])
def test_a_page_that_links_elsewhere_is_refused(tmp_path, link):
    page = f'<a href="a.parquet">a</a><a href="{link}">b</a>'
    with serving(page) as url, pytest.raises(InputError, match="which points outside it"):
        folder_at(f"{url}/t", tmp_path / "cache", 10**9)


def test_links_to_another_order_of_a_page_are_no_files():
    with serving('<a href="?C=M;O=D">Date</a><a href="a.parquet">a</a>', b"content") as url:
        assert {name: file.size for name, file in files_below(f"{url}/t").items()} == {"a.parquet": 7}


def test_a_server_that_knows_no_size_is_named():
    said = r"^http://.*/t/a\.parquet: the server does not report its size; copy"
    with serving('<a href="a.parquet">a</a>') as url, pytest.raises(InputError, match=said):
        files_below(f"{url}/t")
