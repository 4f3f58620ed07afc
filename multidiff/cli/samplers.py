"""multidiff samplers: each sampler and when to use it."""


def samplers() -> None:
    """List samplers and when to use each."""
    from rich.console import Console
    from rich.table import Table

    from multidiff.configuration import advice, group_options, instantiate, load_option
    from multidiff.diffusion.samplers import Sampler
    from multidiff.diffusion.schedules import Cosine

    table = Table("sampler", "order", "evaluations\nper step", "steps", "stochastic", "when to use it", box=None)
    for name in group_options("sampler"):
        config = load_option("sampler", name)
        sampler = instantiate(Sampler, config["method"], schedule=Cosine())
        certified = sampler.weak_order if sampler.stochastic else sampler.order
        order = str(certified) if certified else "-"
        noise = "yes" if sampler.stochastic else "no"
        table.add_row(name, order, str(sampler.evaluations), str(config["steps"]), noise, advice("sampler", name))
    Console().print(table)
