"""`make plan`: what a build would run and cost, before anything is run or fetched."""

from __future__ import annotations

from dataclasses import dataclass

from deception_saes.models.load import why_unavailable
from deception_saes.models.spec import HubModel
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.costs import Cost, peak_memory, section_cost
from deception_saes.paper.profiles import Profile
from deception_saes.paper.units import book_units


@dataclass(frozen=True)
class Device:
    """rate: float32 FLOP/s that the runs reach, all jobs together. memory: bytes, None: the
    machine's. source: of the rate."""

    name: str
    rate: float
    memory: float | None
    source: str


_REACHED = 0.3  # share of a GPU's published rate, assumed: never measured on one
DEVICES = {
    "cpu": Device("two CPU cores", 1.4e11, None, "measured, benchmarks/"),
    **{slug: Device(name, rate * 1e12 * _REACHED, memory * 1e9,
                    f"{rate:g} TFLOP/s published for float32, of which {_REACHED:.0%} assumed")
       for slug, name, rate, memory in (
           ("t4", "NVIDIA T4", 8.1, 16), ("a100", "NVIDIA A100", 19.5, 80),
           ("rtx4090", "NVIDIA RTX 4090", 82.6, 24), ("h100", "NVIDIA H100 SXM", 67.0, 80))}}

_SECONDS_A_UNIT = 5.0  # imports, a model's load
_SECONDS_A_NOTEBOOK = 8.0
_SECONDS_OF_PAGES = 15.0
_BYTES_OF_HUB_WEIGHT = 2.0  # weights are published in half precision


@dataclass(frozen=True)
class Plan:
    """seconds: by section, None for one that is not run. total: of the whole build, with starts,
    notebooks and pages. download, disk, memory: bytes. lacking: models that cannot be had yet."""

    costs: dict[int, Cost | None]
    seconds: dict[int, float | None]
    total: float
    download: float
    disk: float
    memory: float
    lacking: dict[str, str]


def plan(profile: Profile, seed: int, device: Device) -> Plan:
    """What a build from nothing costs on a device. Loads and fetches nothing.

    A model of the hub counts as had: the plan is of the run with it.
    """
    sections = list(SECTIONS.values())
    costs = {section.number: section_cost(section, profile, seed) for section in sections}
    seconds = {number: None if cost is None else
               (cost.forward + cost.training) / device.rate + cost.fixed / profile.jobs
               for number, cost in costs.items()}
    units = [name for name in book_units(profile, seed) if not name.startswith("notebook-")]
    total = (sum(of or 0.0 for of in seconds.values()) + _SECONDS_OF_PAGES
             + (len(units) * _SECONDS_A_UNIT + len(sections) * _SECONDS_A_NOTEBOOK) / profile.jobs)
    hub = [model for model in profile.models if isinstance(model.source, HubModel)]
    kept = sum(4.0 * model.shape.parameters for model in profile.models if model not in hub)
    lacking = {model.slug: reason for model in profile.models
               if (reason := why_unavailable(model)) is not None}
    return Plan(costs, seconds, total,
                sum(_BYTES_OF_HUB_WEIGHT * model.shape.parameters for model in hub),
                kept + sum(cost.disk for cost in costs.values() if cost), peak_memory(profile),
                lacking)


def plan_text(profile: Profile, seed: int, device: Device) -> str:
    """The plan as a table for a terminal."""
    found = plan(profile, seed, device)
    titles = {section.number: section.title for section in SECTIONS.values()}
    lines = [f"profile {profile.name}, seed {seed}, on {device.name} ({device.source}); "
             f"{profile.jobs} at once, {profile.threads} threads each", "",
             f"{'section':34} {'rows':>9} {'TFLOP':>9} {'seconds':>8} {'budget':>7}"]
    for number, cost in found.costs.items():
        title = f"§{number} {titles[number]}"
        if cost is None:
            lines.append(f"{title:34} not run: no model")
            continue
        tera = (cost.forward + cost.training) / 1e12
        lines.append(f"{title:34} {cost.rows:9,d} {tera:9,.1f} {found.seconds[number]:8,.0f} "
                     f"{profile.seconds.get(number, 0):7,.0f}")
    lines += ["", f"whole build     {found.total / 60:,.0f} min, with starts, notebooks, pages",
              f"memory          {found.memory / 1e9:.1f} GB a unit"
              + (f", of the device's {device.memory / 1e9:.0f} GB" if device.memory else ""),
              f"artifacts       {found.disk / 1e9:.1f} GB",
              f"from the hub    {found.download / 1e9:.1f} GB"]
    lines += [f"not to be had   {slug}: {reason}" for slug, reason in found.lacking.items()]
    return "\n".join(lines)
