"""`suanwang agent cluster`: puts one cluster agent together from its options and runs it until it is asked to stop."""

import logging
import os
import random
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer
from prometheus_client import CollectorRegistry, ProcessCollector
from pydantic import TypeAdapter, ValidationError

from agents.city import City, TokenFile
from agents.cluster.agent import Site, run
from agents.cluster.archive import Archive, ArchiveMetrics, parse_command
from agents.cluster.files import FolderInUseError, agent_name, hold
from agents.cluster.launcher import Launcher, LauncherGoneError
from agents.cluster.launchers.ray import RayLauncher
from agents.cluster.launchers.recorded import RecordedLauncher
from agents.cluster.local_ray import LocalRay, LocalRayError
from agents.cluster.ray.api import RayApi
from agents.cluster.site import RecordedNodes, read_site
from agents.node.collect import normalise_hostname, read_host
from agents.signals import stop_on_signals
from agents.standing import Standing, serve_standing
from scheduler.contract.base import Key
from scheduler.domain.hardware import shipped_catalogue
from scheduler.domain.ids import RANDOM_BYTES, new_id

USAGE_EXIT_CODE = 2
RAY_RESOURCE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
GONE_EXIT_CODE = 1


class LauncherChoice(StrEnum):
    RAY = "ray"
    KUBERNETES = "kubernetes"
    RECORDED = "recorded"


def cluster(
    city: Annotated[str, typer.Option(help="The city's address, such as http://127.0.0.1:8000.")],
    token_file: Annotated[Path, typer.Option(help="File with this cluster's bearer token.")],
    cluster: Annotated[str, typer.Option(help="The id under which the city knows this cluster.")],
    launcher: Annotated[LauncherChoice, typer.Option(help="How runs are run.")],
    data: Annotated[Path, typer.Option(help="Folder for everything this agent keeps.")],
    site: Annotated[Path | None, typer.Option(help="recorded: the site's file.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="ray: a running Ray's Jobs API, such as http://127.0.0.1:8265.")] = None,
    ray_token_file: Annotated[Path | None, typer.Option(help="ray: file with that Ray's token.")] = None,
    local_ray: Annotated[bool, typer.Option("--local-ray", help="ray: start one on this machine, inside --data.")] = False,
    local_root: Annotated[list[Path] | None, typer.Option(help="ray: local working_dir may lie inside; repeatable.")] = None,
    probe_host: Annotated[str, typer.Option(help="Address for /startupz, /readyz, /livez and /metrics.")] = "127.0.0.1",
    probe_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port for those; none without it.")] = None,
    config: Annotated[Path | None, typer.Option(help="kubernetes: the cluster's configuration, see docs/kubernetes.md.")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="kubernetes: credentials; default the pod's service account.")] = None,
    ray_resource: Annotated[
        list[str] | None, typer.Option(help="ray: what it calls a vendor's cards, as VENDOR=NAME, where not as usual; repeatable.")
    ] = None,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="--local-ray: CPUs it may use; default all.")] = None,
    log_archive: Annotated[
        str | None,
        typer.Option(help="Run for each log of an ended run: %p its file, %j job, %a attempt, %t token, %r rank."),
    ] = None,
) -> None:
    """Run in one cluster what the city grants it, and report the truth about it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with ExitStack() as stack, _said_plainly():
        wake = Event()
        stop = stack.enter_context(stop_on_signals(wake))
        _check_names(city, cluster)
        speaker = stack.enter_context(City(city, TokenFile(token_file)))
        standing, registry = Standing(time.monotonic), CollectorRegistry()
        _serve(probe_host, probe_port, standing, registry)
        stack.callback(os.close, hold(data))
        nodes: Site | None = None
        chosen: Launcher
        if launcher is LauncherChoice.RECORDED:
            chosen, nodes = _recorded(cluster, site, data)
        elif launcher is LauncherChoice.KUBERNETES:
            chosen, nodes = _kubernetes(cluster, config, kubeconfig, data)
        else:
            resources = {**shipped_catalogue().ray_resources, **_ray_resources(ray_resource or [])}
            own = stack.enter_context(_local_ray(data, num_cpus, stop)) if local_ray else None
            api = _ray_api(own, ray_address, ray_token_file)
            chosen = RayLauncher(api, cluster=cluster, data=data, resources=resources, local_roots=local_root or [])
        stack.callback(chosen.close)
        run(
            speaker,
            chosen,
            cluster=cluster,
            name=agent_name(data, f"{socket.gethostname()}-{secrets.token_hex(4)}"),
            stop=stop,
            wake=wake,
            clock=_now,
            monotonic=time.monotonic,
            rng=random.Random(),  # noqa: S311
            beat=standing.beat,
            site=nodes,
            archive=_archive(log_archive, chosen, data, wake, registry),
        )


def _recorded(cluster_id: str, site_file: Path | None, data: Path) -> tuple[Launcher, Site]:
    if site_file is None:
        raise ValueError("--launcher recorded needs --site FILE")
    site = read_site(site_file)
    if site.cluster != cluster_id:
        raise ValueError(f"{site_file}: cluster: it describes {site.cluster}, not {cluster_id}")
    boot = new_id("boot", _now(), secrets.token_bytes(RANDOM_BYTES))
    nodes = RecordedNodes(site, shipped_catalogue(), boot=boot, agent_version=version("suanwang"), clock=_now)
    return RecordedLauncher(site, data, _now), nodes


def _kubernetes(cluster_id: str, config_file: Path | None, kubeconfig: Path | None, data: Path) -> tuple[Launcher, Site | None]:
    if config_file is None:
        raise ValueError("--launcher kubernetes needs --config FILE")
    # Only here: an agent that launches on Ray does without the client library.
    try:
        from agents.cluster.kubernetes.client import Kubernetes
        from agents.cluster.kubernetes.config import read_config
        from agents.cluster.kubernetes.inventory import Rules
        from agents.cluster.kubernetes.nodes import KubernetesNodes
        from agents.cluster.launchers.kubernetes import KubernetesLauncher
    except ModuleNotFoundError as error:
        raise ValueError(f"--launcher kubernetes needs {error.name}: pip install 'suanwang[kubernetes]'") from None
    catalogue = shipped_catalogue()
    config = read_config(config_file, catalogue)
    launcher = KubernetesLauncher(
        Kubernetes(kubeconfig),
        config,
        catalogue,
        cluster=cluster_id,
        data=data,
        clock=_now,
        monotonic=time.monotonic,
        rng=random.Random(),  # noqa: S311
    )
    if config.inventory.source == "node-agents":
        return launcher, None
    rules = Rules(cluster_id, catalogue, config.resources, config.tolerations, config.node_selector, config.inventory.labels)
    boot = new_id("boot", _now(), secrets.token_bytes(RANDOM_BYTES))
    return launcher, KubernetesNodes(launcher.nodes, rules, boot=boot, agent_version=version("suanwang"), clock=_now)


def _local_ray(data: Path, num_cpus: int | None, stop: Event) -> LocalRay:
    name = normalise_hostname(socket.gethostname())
    memory_bytes = read_host().memory_bytes
    return LocalRay(data / "ray", node_name=name, num_cpus=num_cpus or _cpus(), memory_bytes=memory_bytes, stop=stop)


def _ray_api(own: LocalRay | None, address: str | None, token_file: Path | None) -> RayApi:
    if own is not None and address is None:
        return RayApi(own.address, own.token, alive=own.is_running)
    if own is not None or address is None:
        raise ValueError("--launcher ray needs either --ray-address URL or --local-ray")
    _check_url("--ray-address", address)
    return RayApi(address, TokenFile(token_file) if token_file else os.environ.get("RAY_AUTH_TOKEN") or None)


def _ray_resources(options: list[str]) -> dict[str, str]:
    named = {}
    for option in options:
        vendor, _, name = option.partition("=")
        if not vendor or not RAY_RESOURCE_NAME.fullmatch(name):
            raise ValueError(f"--ray-resource {option!r}: VENDOR=NAME is needed, such as cambricon=MLU")
        named[vendor] = name
    return named


def _archive(command: str | None, launcher: Launcher, data: Path, wake: Event, registry: CollectorRegistry) -> Archive | None:
    if command is None:
        return None
    return Archive(parse_command(command), launcher, data / "archive", ArchiveMetrics(registry), wake)


def _serve(host: str, port: int | None, standing: Standing, registry: CollectorRegistry) -> None:
    ProcessCollector(registry=registry)
    try:
        serve_standing(host, port, standing, registry)
    except OSError as error:
        raise ValueError(f"--probe-port {port}: {error.strerror}") from error


def _check_names(city: str, cluster_id: str) -> None:
    _check_url("--city", city)
    try:
        TypeAdapter[str](Key).validate_python(cluster_id)
    except ValidationError as error:
        raise ValueError(f"--cluster {cluster_id!r}: letters, digits and . _ : - are allowed, at most 128") from error


def _check_url(option: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{option} {url!r}: an address such as http://127.0.0.1:8000 is needed")


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What an operator can put right is told in one line, without a traceback."""
    try:
        yield
    except (ValueError, FolderInUseError, LocalRayError) as error:
        _end(str(error), USAGE_EXIT_CODE)
    except OSError as error:
        _end(f"{error.filename or 'the data folder'}: {error.strerror}", USAGE_EXIT_CODE)
    except LauncherGoneError as error:
        _end(str(error), GONE_EXIT_CODE)


def _end(message: str, code: int) -> NoReturn:
    typer.echo(f"suanwang agent cluster: {message}", err=True)
    raise typer.Exit(code)
