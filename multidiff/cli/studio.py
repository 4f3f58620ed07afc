"""multidiff studio: a web page that generates with trained models."""

from pathlib import Path
from typing import Annotated

import typer


def studio(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run or model directories, or bundled models. Default: all bundled ones.", show_default=False
        ),
    ] = None,
    sampler: Annotated[
        list[Path] | None, typer.Option(help="Sampler file to offer, written by grid or speedup; repeatable.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; the default reaches this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(help="USER:PASSWORD that visitors must give.", envvar="MULTIDIFF_STUDIO_AUTH", show_envvar=True),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: ~/.local/share/multidiff/studio.")
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(help="Run directory to follow while it trains; repeatable.")] = None,
    report: Annotated[list[Path] | None, typer.Option(help="Report of evaluate to show; repeatable.")] = None,
    max_samples: Annotated[int, typer.Option(help="Maximum number of samples per request.")] = 64,
    max_batch: Annotated[int, typer.Option(help="Maximum batch size of a request.")] = 64,
    max_steps: Annotated[int, typer.Option(help="Maximum number of steps of a request.")] = 1000,
    max_size: Annotated[int, typer.Option(help="Maximum size of a sample, in numbers: pixels times channels.")] = 2**22,
    max_seconds: Annotated[float, typer.Option(help="Maximum computing time of a request, in seconds.")] = 600.0,
    max_upload: Annotated[int, typer.Option(help="Maximum size of an uploaded file, in MB.")] = 64,
) -> None:
    """Open a web page that generates with trained models."""
    from multidiff.errors import InputError
    from multidiff.studio.opening import import_gradio

    try:
        import_gradio()
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise InputError("the studio needs gradio: pip install 'multidiff-toolkit[studio]'") from error
    from multidiff.studio.engine import Studio
    from multidiff.studio.history import History
    from multidiff.studio.limits import Limits
    from multidiff.studio.models import Models
    from multidiff.studio.server import Address, serve

    limits = Limits(max_samples, max_batch, max_steps, max_size, max_seconds, upload=max_upload)
    address = Address(host, port, _login(auth))
    runs = tuple(_run(folder) for folder in run or ())
    reports = tuple(_report(file) for file in report or ())
    serve(Studio(Models.load(models or [], sampler or []), History(history), limits, runs, reports), address)


def _login(text: str | None) -> tuple[str, str] | None:
    """The name and the password in ``USER:PASSWORD``."""
    from multidiff.errors import InputError

    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise InputError("--auth takes USER:PASSWORD")
    return user, password


def _run(folder: Path) -> Path:
    """The directory of a run, which must have begun."""
    from multidiff.studio.runs import Run

    return Run.read(folder.expanduser().resolve()).folder


def _report(file: Path) -> Path:
    from multidiff.errors import InputError

    if not file.is_file() or file.suffix.lower() != ".html":
        raise InputError(f"--report {file} is not an HTML file; multidiff evaluate --report FILE.html writes one")
    return file.resolve()
