"""Every manifest parses and fits its schema; every flag, path, route and name in it exists."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs import cli
from jobs.cli import _parser, _settings
from probe.protocol import TOKEN

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((Path(__file__).parent / "manifests.schema.json").read_text())
MANIFESTS = sorted(DEPLOY.rglob("*.yaml"))
CONTAINERFILES = sorted(DEPLOY.glob("*.Containerfile"))


def documents() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            yield path, document


def values(node: Any, key: str) -> Iterator[Any]:
    """All values of a key, however deep."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for value in node.values():
            yield from values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, key)


def test_all_is_there() -> None:
    kinds = {document.get("kind", "Compose") for _, document in documents()}
    assert kinds == {"RayCluster", "RayJob", "RayService", "Deployment", "Service", "Ingress", "Compose"}
    assert [path.name for path in CONTAINERFILES] == ["api.Containerfile", "jobs.Containerfile"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_fits_its_schema(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        kind = document.get("kind", "Compose")
        jsonschema.validate(document, {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})


def test_the_schema_is_strict() -> None:
    job = next(document for _, document in documents() if document.get("kind") == "RayJob")
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(jsonschema.ValidationError, match="nodeSelectors"):
        jsonschema.validate(job, {"$ref": "#/$defs/RayJob", "$defs": SCHEMA["$defs"]})


def test_the_build_of_the_job_is_one_the_command_takes(tmp_path: Path) -> None:
    job = next(document for _, document in documents() if document.get("kind") == "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[0] == "neuron-atlas"
    settings = _settings(_parser().parse_args(words[1:]))
    assert settings.address == "auto"
    assert settings.out.startswith("s3://")
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert settings.workers == str(group["replicas"])
    cores = int(next(values(group, "requests"))["cpu"])
    assert int(settings.decode_threads) + settings.threads < cores


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_the_probe_of_the_service_is_one_the_command_takes() -> None:
    from ray.serve.schema import ServeDeploySchema

    from jobs import replicas

    service = next(document for _, document in documents() if document.get("kind") == "RayService")["spec"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["serveConfigV2"]))
    (deployed,) = config.applications
    module, _, name = str(deployed.import_path).partition(":")
    assert getattr(importlib.import_module(module), name) is replicas.application
    words = ["probe", *deployed.args["dirs"], "--address", "auto"]
    for flag, value in deployed.args.items():
        assert flag in replicas.FLAGS
        if flag != "dirs":
            words += [f"--{flag.replace('_', '-')}", *(value if isinstance(value, list) else [str(value)])]
    options = _parser().parse_args(words)
    (group,) = service["rayClusterConfig"]["workerGroupSpecs"]
    assert replicas.bounds(options.replicas) == (group["minReplicas"], group["maxReplicas"])
    requests = next(values(group, "requests"))
    assert int(options.threads) <= int(requests["cpu"])
    assert (options.device == "cuda") == ("nvidia.com/gpu" in requests)
    for pods in (service["rayClusterConfig"]["headGroupSpec"], group):
        (container,) = next(values(pods, "containers"))
        assert TOKEN in {each["name"] for each in container["env"]}
        assert config.http_options.port in {port["containerPort"] for port in container["ports"]}


def test_the_commands_of_compose_are_taken() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert _settings(_parser().parse_args(services["build"]["command"])).network == "resnet50"
    assert _parser().parse_args(["serve", *services["api"]["command"]]).port == 8000
    for service in services.values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    api = services["api"]
    assert api["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in api["ports"])


def test_the_service_is_locked_and_asked_where_it_answers() -> None:
    from api.http import gate

    deployment = next(document for _, document in documents() if document.get("kind") == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}
    api = pod["containers"][0]
    assert _parser().parse_args(["serve", *api["args"]]).host == "0.0.0.0"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert api[probe]["httpGet"]["path"].encode() in gate.OPEN
    compile(pod["initContainers"][0]["command"][2], "copy", "exec")
    service = next(document for _, document in documents() if document.get("kind") == "Service")
    ingress = next(document for _, document in documents() if document.get("kind") == "Ingress")
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert next(values(ingress, "service"))["name"] == service["metadata"]["name"]
    assert {port["name"] for port in service["spec"]["ports"]} >= {next(values(ingress, "service"))["port"]["name"]}


def test_ray_is_the_version_that_is_pinned() -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert {version for _, document in documents() for version in values(document, "rayVersion")} == {pinned[1]}


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.name)
def test_containerfiles_copy_what_exists_and_end_without_root(path: Path) -> None:
    lines = path.read_text().splitlines()
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert int(users[-1]) > 0
    extras = re.findall(r'"\.\[(\w+)\]"', path.read_text())
    assert extras == {"jobs": ["replicas"], "api": ["api"]}[path.name.split(".")[0]]
    rooms = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    assert {"atlas", "jobs", "api", "probe"} <= rooms
    command = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    entry = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT ")).removeprefix("ENTRYPOINT "))
    assert entry[0] == "neuron-atlas"
    if "serve" in entry:
        assert _parser().parse_args([*entry[1:], *command]).port == 8000
        assert any("HEALTHCHECK" in line for line in lines)


def test_the_page_names_only_flags_that_exist() -> None:
    text = (DEPLOY / "imagenet.md").read_text()
    known = {flag for action in _all_actions(cli._parser()) for flag in action.option_strings}
    ours = re.sub(r"^kubectl .*$", "", text, flags=re.MULTILINE)
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours):
        assert flag in known, flag
    for path in re.findall(r"`(deploy/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def _all_actions(parser: Any) -> Iterator[Any]:
    for action in parser._actions:
        yield action
        for sub in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            yield from _all_actions(sub)


def test_the_page_shows_what_the_model_says() -> None:
    from bench.imagenet import table

    assert table() in (DEPLOY / "imagenet.md").read_text()
