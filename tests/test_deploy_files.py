"""deploy/ without a cluster: Kubernetes' and KubeRay's schemas, systemd's own check, the command line, the settings, and each file
against the others."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from support_compose import ROOT, UsageError, instructions, known_variables, parse_command

from service.http.routes import health
from service.worker.attempt_settings import AttemptSettings
from sparsemod import __version__

MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
SCHEMAS = ROOT / "tests" / "vendored" / "kubernetes.json"

# Kubernetes 1.36 and KubeRay 1.7.0, trimmed as its comment says.
SCHEMAS_DIGEST = "5999b29f67f1a089c8b4c751b709a06d512e3dce6c50a168ae8810829df41ca4"

STOPPING = AttemptSettings.__dataclass_fields__["stop_grace"].default + 20
"""Seconds after a drain in which a trial stops between two epochs, and its checkpoint is uploaded."""


def documents() -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]


def document(kind: str, name: str = "sparsemod") -> dict[str, Any]:
    (found,) = [
        one for one in documents() if one["kind"] == kind and one["metadata"].get("name", name) == name
    ]
    return found


def complaints(given: Mapping[str, Any]) -> list[str]:
    schemas = json.loads(SCHEMAS.read_text())
    kind = f"{given.get('apiVersion')}/{given.get('kind')}"
    if kind not in schemas["kinds"]:
        return [f"unknown kind {kind}"]
    validator = jsonschema_rs.validator_for({**schemas["kinds"][kind], "$defs": schemas["$defs"]})
    return [f"{'.'.join(map(str, e.instance_path))}: {e.message}" for e in validator.iter_errors(given)]


def pods(given: Any) -> Iterator[dict[str, Any]]:
    """Every pod's spec in a document."""
    if isinstance(given, dict):
        if isinstance(given.get("containers"), list):
            yield given
        for value in given.values():
            yield from pods(value)
    elif isinstance(given, list):
        for value in given:
            yield from pods(value)


def containers() -> list[dict[str, Any]]:
    return [one for given in documents() for pod in pods(given) for one in pod["containers"]]


# -- Kubernetes -----------------------------------------------------------------------------------------------------------------------


def test_the_schemas_are_the_recorded_ones() -> None:
    assert hashlib.sha256(SCHEMAS.read_bytes()).hexdigest() == SCHEMAS_DIGEST


def test_manifests_obey_the_schemas() -> None:
    assert [complaints(one) for one in documents()] == [[]] * len(documents())
    kinds = sorted(one["kind"] for one in documents())
    assert kinds == ["Deployment", "Deployment", "PersistentVolumeClaim", "RayCluster", "RayJob", "Service"]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replica"), 1),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "imagePullPolicies"), "Never"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "args"), "serve"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "8080"),
        ("Deployment", ("spec", "template", "spec", "securityContext", "runAsUser"), "me"),
        ("Service", ("spec", "ports", 0, "port"), None),
        ("PersistentVolumeClaim", ("spec", "accessModes"), "ReadWriteOnce"),
        ("RayCluster", ("spec", "authOptions", "mode"), "secret"),
        ("RayCluster", ("spec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}),
        ("RayCluster", ("spec", "workerGroupSpecs", 0, "template", "spec", "container"), []),
        ("RayJob", ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replica"), 2),
        ("RayJob", ("spec", "entryPoint"), "sparsemod fleet"),
        ("RayJob", ("apiVersion",), "ray.io/v1alpha1"),
    ],
)
def test_the_schemas_see_mistakes(kind: str, path: tuple[str | int, ...], value: Any) -> None:
    broken = document(kind)
    place: Any = broken
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert complaints(broken)


def test_commands_are_the_command_line_s() -> None:
    parsed = {
        one["name"]: parse_command(one["args"]) for one in containers() if not one["name"].startswith("ray-")
    }
    assert set(parsed) == {"server", "suggester", "worker"}
    assert (parsed["server"]["host"], parsed["server"]["only_server"]) == ("0.0.0.0", True)
    program, *words = shlex.split(document("RayJob")["spec"]["entrypoint"])
    assert program == "sparsemod"
    values = parse_command(words)
    assert (values["address"], values["lowest"], values["highest"]) == ("auto", 1, 8)
    with pytest.raises(UsageError):
        parse_command(["fleet", "--maximum", "8"])


def test_commands_in_the_comments_are_possible() -> None:
    found = [
        words
        for path in MANIFESTS
        for words in re.findall(r"^# .*?(?:-- |  )sparsemod (\w.*)$", path.read_text(), re.MULTILINE)
    ]
    assert len(found) == 2
    for words in found:
        parse_command(shlex.split(words))


def test_environment_variables_are_read_by_something() -> None:
    for one in containers():
        given = {entry["name"] for entry in one.get("env", [])}
        assert given <= known_variables() | {"OMP_NUM_THREADS"}, one["name"]


def test_tokens_are_in_a_secret_that_no_file_holds() -> None:
    references = []
    for one in containers():
        for entry in one.get("env", []):
            if re.search("PASSWORD|TOKEN|SECRET|KEY", entry["name"]):
                references.append(entry["valueFrom"]["secretKeyRef"])
    assert len(references) == 5
    assert all(one == {"name": "sparsemod-worker", "key": "token"} for one in references)
    assert not [one for one in documents() if one["kind"] == "Secret"]
    text = (ROOT / "deploy" / "kubernetes" / "sparsemod.yaml").read_text()
    assert "kubectl create secret generic sparsemod-worker --from-literal=token=" in text


def test_parts_find_each_other() -> None:
    server, worker = document("Deployment"), document("Deployment", "sparsemod-worker")
    for deployment in (server, worker):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
    service = document("Service")
    labels = server["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels != worker["spec"]["template"]["metadata"]["labels"]
    (port,) = service["spec"]["ports"]
    first = server["spec"]["template"]["spec"]["containers"][0]
    (own,) = first["ports"]
    assert port["targetPort"] == own["name"]
    assert own["containerPort"] == parse_command(first["args"])["port"]
    urls = {
        entry["value"]
        for one in containers()
        for entry in one.get("env", [])
        if entry["name"] == "SPARSEMOD_SERVER"
    }
    assert urls == {f"http://{service['metadata']['name']}:{port['port']}"}


def test_probes_ask_what_the_server_answers() -> None:
    first = document("Deployment")["spec"]["template"]["spec"]["containers"][0]
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        probe = first[kind]
        (target,) = [probe[one] for one in ("httpGet", "tcpSocket") if one in probe]
        assert target["port"] == first["ports"][0]["name"]
    assert first["readinessProbe"]["httpGet"]["path"] in {route.path for route in health.router.routes}


def test_volumes_are_declared_and_where_the_image_expects_them() -> None:
    variables = dict(
        word.split("=", 1) for step in instructions() if step.name == "ENV" for word in step.words
    )
    places = {variables["SPARSEMOD_DATA_DIR"], variables["SPARSEMOD_DATA"]}
    for given in documents():
        for pod in pods(given):
            declared = {volume["name"] for volume in pod.get("volumes", [])}
            mounts = [mount for one in pod["containers"] for mount in one.get("volumeMounts", [])]
            assert {mount["name"] for mount in mounts} == declared
            assert {mount["mountPath"] for mount in mounts} <= places
    server = document("Deployment")
    assert server["spec"]["replicas"] == 1 and server["spec"]["strategy"] == {"type": "Recreate"}
    (claim,) = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in server["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claim == document("PersistentVolumeClaim")["metadata"]["name"]


def test_pods_are_unprivileged_and_bounded() -> None:
    (user,) = [step.text for step in instructions() if step.name == "USER"]
    for given in documents():
        for pod in pods(given):
            context = pod["securityContext"]
            assert context["runAsNonRoot"] is True
            assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
            for one in pod["containers"]:
                assert one["resources"]["requests"]["cpu"] and one["resources"]["limits"]["memory"]
                if not one["name"].startswith("ray-"):
                    assert one["securityContext"]["allowPrivilegeEscalation"] is False
                    assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_worker_s_pod_has_the_time_to_drain() -> None:
    pod = document("Deployment", "sparsemod-worker")["spec"]["template"]["spec"]
    assert (
        pod["terminationGracePeriodSeconds"]
        >= parse_command(pod["containers"][0]["args"])["drain"] + STOPPING
    )


def test_images_and_ray_have_the_versions_of_this_repository() -> None:
    images = {one["image"] for one in containers()}
    assert images == {f"sparsemod:{__version__}-cpu", f"sparsemod:{__version__}-ray"}
    (pin,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert document("RayCluster")["spec"]["rayVersion"] == pin
    assert document("RayJob")["spec"]["rayClusterSpec"]["rayVersion"] == pin
    steps = {step.name: step for step in instructions(ROOT / "docker" / "Dockerfile.ray")}
    assert steps["ARG"].text == f"BASE=sparsemod:{__version__}-cpu"
    assert "-c /tmp/constraints.txt" in steps["RUN"].text and "ray[default]" in steps["RUN"].text
    assert steps["COPY"].words[0] == "constraints.txt"
    assert [step.text for step in instructions() if step.name == "USER"] == ["10001:10001"]


# -- systemd --------------------------------------------------------------------------------------------------------------------------


def settings_of(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Section -> settings of a unit, in the order of the file. Raises ValueError."""
    sections: dict[str, list[tuple[str, str]]] = {}
    section = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            sections[section] = []
            continue
        key, equals, value = line.partition("=")
        if not equals or not re.fullmatch("[A-Z][A-Za-z]+", key) or not section:
            raise ValueError(f"{path.name}:{number}: {line}")
        sections[section].append((key, value))
    return sections


def values(path: Path, section: str, key: str) -> list[str]:
    return [value for name, value in settings_of(path)[section] if name == key]


def test_there_is_a_unit_for_every_part() -> None:
    assert [path.name for path in UNITS] == [
        "sparsemod-server.service", "sparsemod-suggester.service", "sparsemod-worker@.service"
    ]  # fmt: skip


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_start_real_commands(path: Path) -> None:
    assert list(settings_of(path)) == ["Unit", "Service", "Install"]
    (start,) = values(path, "Service", "ExecStart")
    program, *words = shlex.split(start.replace("%H", "host").replace("%i", "1"))
    assert program == "/opt/sparsemod/bin/sparsemod"
    given = parse_command(words)
    kind = path.name.removeprefix("sparsemod-").removesuffix(".service").removesuffix("@")
    assert words[0] == {"server": "serve"}.get(kind, kind)
    (stop,) = values(path, "Service", "TimeoutStopSec")
    if kind == "worker":
        assert float(stop) >= given["drain"] + STOPPING
    assert values(path, "Service", "Restart") == ["always"]
    # SIGTERM for the trials would end them; without continue, the unit ends with one trial that runs out of memory.
    assert values(path, "Service", "KillMode") == ["mixed"]
    assert values(path, "Service", "OOMPolicy") == ["continue"]
    assert values(path, "Service", "User") == ["sparsemod"] and values(
        path, "Service", "NoNewPrivileges"
    ) == ["yes"]
    named = {value.partition("=")[0] for value in values(path, "Service", "Environment")}
    named |= set(re.findall(r"SPARSEMOD_[A-Z_]+", path.read_text()))
    assert named <= known_variables() | {"OMP_NUM_THREADS"}
    (state,) = values(path, "Service", "StateDirectory")
    assert values(path, "Service", "WorkingDirectory") == [f"/var/lib/{state}"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(path: Path, tmp_path: Path) -> None:
    def check(text: str) -> str:
        # systemd also checks that the program exists.
        program = shutil.which("true")
        (tmp_path / path.name).write_text(text.replace("/opt/sparsemod/bin/sparsemod", str(program)))
        found = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return found.stderr if path.name.partition(".")[0].rstrip("@") in found.stderr else ""

    assert check(path.read_text()) == ""
    assert "Restrat" in check(path.read_text().replace("Restart=always", "Restrat=always"))


# -- the documentation -----------------------------------------------------------------------------------------------------------------


def shown() -> list[str]:
    """Lines of the documentation's blocks about deploy/ and docker/."""
    text = (ROOT / "docs" / "deployment.md").read_text().partition("## An image without a registry")[2]
    found = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def test_what_the_documentation_shows_exists() -> None:
    lines = shown()
    assert len(lines) > 10
    objects = {f"{one['kind'].lower()}/{one['metadata'].get('name')}" for one in documents()}
    for line in lines:
        if not line.startswith("$ "):
            name, equals, _ = line.partition("=")
            assert equals and name in known_variables(), line
            continue
        command, *ours = re.split(r"(?: -- |/bin/)sparsemod ", line.removeprefix("$ "))
        for words in ours:
            parse_command(shlex.split(words))
        for word in shlex.split(command):
            if word.startswith(("deploy/kubernetes/", "deploy/systemd/", "docker/", "constraints.txt")):
                assert list(ROOT.glob(word)), line
            elif word.startswith(("deploy/", "service/")):
                assert word.replace("deploy/", "deployment/") in objects, line
            elif word.startswith("sparsemod-") and "systemctl" in line:
                assert f"{re.sub('@.*', '@', word)}.service" in {path.name for path in UNITS}, line
            elif word.startswith("--build-arg"):
                assert "BASE=" in line


# -- the script that needs no registry -------------------------------------------------------------------------------------------------


SCRIPT = ROOT / "docker" / "build-without-registry.sh"


def run_script(folder: Path, *options: str, tools: tuple[str, ...] = ("debootstrap", "buildah")) -> Any:
    """Run the script with programs that write down their arguments."""
    programs = folder / "bin"
    programs.mkdir()
    for name in tools:
        answer = 'case "$1" in from) echo container-1;; esac' if name == "buildah" else ":"
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n{answer}\n')
        (programs / name).chmod(0o755)
    for name in ("sh", "dirname", "sed", "mktemp", "rm"):
        (programs / name).symlink_to(str(shutil.which(name)))
    return subprocess.run(
        [str(programs / "sh"), str(SCRIPT), *options],
        env={"PATH": str(programs), "TMPDIR": str(folder)}, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_script_builds_the_dockerfile_on_its_own_base(tmp_path: Path) -> None:
    found = run_script(tmp_path, "--try")
    assert found.returncode == 0, found.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    verbs = [" ".join(call.split()[:2]).replace("--variant=minbase", "") for call in calls]
    assert verbs == [
        "debootstrap ", "buildah from", "buildah add", "buildah config", "buildah commit", "buildah rm",
        "buildah build", "buildah from", "buildah run", "buildah rm",
    ]  # fmt: skip
    base = calls[4].split()[-1]
    declared = {step.text.partition("=")[0] for step in instructions() if step.name == "ARG"}
    (build,) = [shlex.split(call) for call in calls if call.startswith("buildah build")]
    arguments = dict(
        build[place + 1].split("=", 1) for place, word in enumerate(build) if word == "--build-arg"
    )
    assert set(arguments) <= declared
    assert arguments["PYTHON_IMAGE"] == base and "--pull=never" in build
    assert build[build.index("--tag") + 1] == f"sparsemod:{__version__}-cpu"
    assert build[build.index("--file") + 1] == str(ROOT / "docker" / "Dockerfile")
    (run,) = [shlex.split(call) for call in calls if call.startswith("buildah run")]
    parse_command(run[run.index("sparsemod") + 1 :])
    assert not [path for path in tmp_path.iterdir() if path.name not in {"bin", "calls"}], (
        "its folder is gone"
    )


def test_the_script_names_what_is_missing(tmp_path: Path) -> None:
    found = run_script(tmp_path, tools=("debootstrap",))
    assert (found.returncode, found.stderr) == (
        2,
        "buildah is missing: apt-get install debootstrap buildah\n",
    )
