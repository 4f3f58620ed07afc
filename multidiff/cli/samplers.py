"""multidiff samplers: each sampler and when to use it."""


def samplers() -> None:
    """List samplers and when to use each."""
    from rich.console import Console
    from rich.table import Table

    from multidiff.configuration import advice, group_options, instantiate, left_out_if_broken
    from multidiff.diffusion.samplers import Sampler
    from multidiff.diffusion.schedules import Cosine
    from multidiff.errors import InputError
    from multidiff.sampling.sampler_config import load_sampler

    table = Table("sampler", "order", "evaluations\nper step", "steps", "stochastic", "when to use it", box=None)
    for name in group_options("sampler"):
        with left_out_if_broken("sampler", name):
            config = load_sampler(name)
            sampler = instantiate(Sampler, config["method"], schedule=Cosine())
            if not hasattr(sampler, "order") or not hasattr(sampler, "evaluations"):
                raise InputError(f"{type(sampler).__name__} must state order and evaluations")
            certified = sampler.weak_order if sampler.stochastic else sampler.order
            order = str(certified) if certified else "-"
            noise = "yes" if sampler.stochastic else "no"
            table.add_row(name, order, str(sampler.evaluations), str(config["steps"]), noise, advice("sampler", name))
    Console().print(table)
