import inspect
import json
import sys

from multidiff.studio.opening import import_gradio


def test_other_packages_find_their_sources_while_gradio_is_imported(tmp_path, monkeypatch):
    (tmp_path / "gradio.py").write_text("import inspect, json\nfound = inspect.getsourcefile(json.JSONDecoder)\n")
    monkeypatch.delitem(sys.modules, "gradio", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import_gradio()
    assert sys.modules["gradio"].found == inspect.getsourcefile(json.JSONDecoder)
    sys.modules.pop("gradio")  # if there was another one, it comes back
