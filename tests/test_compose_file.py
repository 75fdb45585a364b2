"""docker-compose.yml without an engine: against the Compose Specification's schema, the command line, the settings and itself."""

import hashlib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from dotenv import dotenv_values
from support_compose import (
    COMPOSE,
    GIVEN,
    ROOT,
    SCHEMA,
    Missing,
    UsageError,
    copied,
    health_command,
    instructions,
    interpolate,
    known_variables,
    load,
    own_commands,
    parse_command,
    raw,
    seconds,
    variables,
)
from support_programs import needs

from service.settings import Settings
from service.worker.attempt_settings import AttemptSettings
from sparsemod import __version__
from sparsemod.data.places import ROOT_VARIABLE

SERVICES: dict[str, dict[str, Any]] = load()["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
WORKERS = [name for name in OURS if name.startswith("worker")]

# github.com/compose-spec/compose-spec, as check-jsonschema 0.39.0 on PyPI carries it.
SCHEMA_DIGEST = "d549057ebc2925f39f62799eab0db7b9e2c18b35b6c00595199116da3ed10e64"


def complaints(given: dict[str, Any]) -> list[str]:
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
    return [
        f"{'.'.join(map(str, error.instance_path))}: {error.message}"
        for error in validator.iter_errors(given)
    ]


def test_the_schema_is_the_published_one() -> None:
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() == SCHEMA_DIGEST
    assert "Apache License" in (SCHEMA.parent / "LICENSE.compose-spec").read_text()


def test_the_file_obeys_the_schema() -> None:
    assert not complaints(raw())
    assert not complaints(load())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "server", "restrat"), "always"),
        (("services", "server", "healthcheck", "interval"), 3.5),
        (("services", "worker", "depends_on", "server", "condition"), "healthy"),
        (("services", "worker-gpu", "deploy", "resources", "reservations", "devices"), "all"),
        (("servcies",), {}),
    ],
)
def test_the_schema_sees_mistakes(path: tuple[str, ...], value: Any) -> None:
    broken = load()
    place = broken
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert complaints(broken)


def test_there_is_every_part() -> None:
    assert set(SERVICES) == {"database", "server", "suggester", "worker", "worker-gpu"}


@pytest.mark.parametrize("name", OURS)
def test_commands_are_the_command_line_s(name: str) -> None:
    for words in own_commands(SERVICES[name]):
        parse_command(words)


def test_a_command_that_is_not_there_is_seen() -> None:
    for words in (["serv"], ["serve", "--only-srever"], ["worker", "--drain", "soon"], ["health", "now"]):
        with pytest.raises(UsageError):
            parse_command(words)


def test_environment_variables_are_read_by_something() -> None:
    # libpq's, OpenMP's, the NVIDIA container toolkit's.
    others = {"PGPASSWORD", "OMP_NUM_THREADS", "NVIDIA_DRIVER_CAPABILITIES"}
    for name in OURS:
        given = set(SERVICES[name]["environment"])
        assert given <= known_variables() | others, f"{name}: {given - known_variables() - others}"
    in_image = {
        word.partition("=")[0]
        for step in instructions()
        if step.name == "ENV"
        for word in step.words
        if word.startswith("SPARSEMOD_")
    }
    assert in_image <= known_variables()


@pytest.mark.parametrize("name", ["server", "suggester"])
def test_settings_accept_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("SPARSEMOD_")]:
        monkeypatch.delenv(variable)
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    found = Settings()
    assert found.url == "postgresql://sparsemod@database:5432/sparsemod"
    defaults = Settings(database_url=found.database_url)
    assert found == defaults, "the file's defaults are the program's own"


def test_database_and_its_users_agree() -> None:
    made = SERVICES["database"]["environment"]
    for name in ("server", "suggester"):
        used = SERVICES[name]["environment"]
        url = f"postgresql://{made['POSTGRES_USER']}@database:5432/{made['POSTGRES_DB']}"
        assert used["SPARSEMOD_DATABASE_URL"] == url
        assert used["PGPASSWORD"] == made["POSTGRES_PASSWORD"] == GIVEN["SPARSEMOD_DATABASE_PASSWORD"]
    words = health_command(SERVICES["database"])
    assert f"--username={made['POSTGRES_USER']}" in words and f"--dbname={made['POSTGRES_DB']}" in words


def test_secrets_come_from_outside() -> None:
    given = load(GIVEN | {"SPARSEMOD_WORKER_TOKEN": "sm_secret"})["services"]
    assert {given[name]["environment"]["SPARSEMOD_TOKEN"] for name in WORKERS} == {"sm_secret"}
    with pytest.raises(Missing, match=r"SPARSEMOD_DATABASE_PASSWORD: set it in \.env"):
        load({"SPARSEMOD_DATABASE_PASSWORD": ""})
    for name, service in raw()["services"].items():
        for variable, value in service["environment"].items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", variable):
                assert value.startswith("${"), f"{name}.{variable} stands in the file"
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "allow-remote" not in COMPOSE.read_text() and "ALLOW_REMOTE" not in COMPOSE.read_text()


def test_the_example_of_the_variables_is_complete(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text()
    (tmp_path / "env").write_text(re.sub(r"^#(?=SPARSEMOD_)", "", text, flags=re.MULTILINE))
    example = dotenv_values(tmp_path / "env")
    expected = variables()
    assert set(example) == set(expected)
    for name in re.findall(r"^#(SPARSEMOD_\w+)=", text, flags=re.MULTILINE):
        # Those of a folder are an example; the others are the default.
        assert example[name] == expected[name] or name in {
            "SPARSEMOD_DATASETS",
            "SPARSEMOD_MODULES",
            "SPARSEMOD_IMPORTS",
        }


def test_images_are_pinned() -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+@sha256:[0-9a-f]{64}", SERVICES["database"]["image"])
    for name in OURS:
        assert (
            SERVICES[name]["image"] == f"sparsemod:{__version__}-{'cuda' if name == 'worker-gpu' else 'cpu'}"
        )
        assert SERVICES[name]["build"]["dockerfile"] == "docker/Dockerfile"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_part_is_unprivileged_watched_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] not in {"", "root", "0", "0:0"}
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged") and not service.get("cap_add") and "network_mode" not in service
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert seconds(check["timeout"]) < seconds(check["interval"]) <= 30
    assert check["retries"] >= 3 and seconds(check["start_period"]) >= 30
    if "build" in service:
        # Docker reserves other exit codes than 0 and 1.
        assert health_command(service)[2].endswith("|| exit 1")
        assert service["init"] is True


def test_services_wait_for_health_checks() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert SERVICES[other]["healthcheck"]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_the_time_to_drain(name: str) -> None:
    given = parse_command(SERVICES[name]["command"])
    # After the drain a trial has this long to stop between two epochs; then its checkpoint is uploaded.
    stopping = AttemptSettings.__dataclass_fields__["stop_grace"].default
    assert seconds(SERVICES[name]["stop_grace_period"]) >= given["drain"] + stopping + 20


def test_the_server_is_published_where_it_listens() -> None:
    given = parse_command(SERVICES["server"]["command"])
    assert (given["host"], given["only_server"]) == ("0.0.0.0", True)
    assert SERVICES["server"]["ports"] == [f"127.0.0.1:8080:{given['port']}"]
    several = load(GIVEN | {"SPARSEMOD_PORT": "8080-8081", "SPARSEMOD_ADDRESS": "10.0.0.1"})
    assert several["services"]["server"]["ports"] == ["10.0.0.1:8080-8081:8080"]
    assert not complaints(several)
    for name in WORKERS:
        assert SERVICES[name]["environment"]["SPARSEMOD_SERVER"] == f"http://server:{given['port']}"
    assert [step.text for step in instructions() if step.name == "EXPOSE"] == [str(given["port"])]
    assert not any("ports" in SERVICES[name] for name in SERVICES if name != "server")


def test_workers_and_servers_can_be_several() -> None:
    for name in ("worker", "server"):
        # A fixed name is one container's.
        assert "container_name" not in SERVICES[name] and "hostname" not in SERVICES[name]
    assert "--name" not in SERVICES["worker"]["command"]


def test_the_gpu_s_worker_reserves_one_and_uses_it() -> None:
    service = SERVICES["worker-gpu"]
    assert service["profiles"] == ["gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
    other = load(GIVEN | {"SPARSEMOD_GPU": "3"})["services"]["worker-gpu"]
    assert other["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["3"]
    # The only one that the container sees is its first.
    assert parse_command(other["command"])["gpu"] == 0
    assert service["build"]["args"]["TORCH_INDEX"] == ""
    assert not any("deploy" in SERVICES[name] for name in SERVICES if name != "worker-gpu")


def test_volumes_are_declared_used_and_writable() -> None:
    declared = set(load()["volumes"])
    used: dict[str, str] = {}
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            assert used.setdefault(source, target) == target
    assert set(used) == declared
    (made,) = [step.text for step in instructions() if "install -d" in step.text]
    variables = dict(
        word.split("=", 1) for step in instructions() if step.name == "ENV" for word in step.words
    )
    for source in declared - {"database"}:
        # A new volume takes over the owner of the folder that it hides.
        assert used[source] in shlex.split(made)
    assert (
        used["artifacts"] == variables["SPARSEMOD_DATA_DIR"] and used["datasets"] == variables[ROOT_VARIABLE]
    )
    assert used["modules"] in {step.text for step in instructions() if step.name == "WORKDIR"}
    folders = load(GIVEN | {"SPARSEMOD_DATASETS": "./data"})["services"]["worker"]["volumes"]
    assert "./data:/datasets" in folders


def test_build_arguments_are_the_dockerfile_s() -> None:
    declared = {step.text.partition("=")[0] for step in instructions() if step.name == "ARG"}
    for name in OURS:
        build = SERVICES[name]["build"]
        assert set(build["args"]) <= declared
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    assert copied()


def test_variables_are_replaced_as_compose_does() -> None:
    given = {"A": "a", "E": ""}
    for text, expected in {
        "$A-${A}": "a-a",
        "$$A": "$A",
        "${E:-x}${E-x}": "x",
        "${N:-x}${N-y}": "xy",
        "${A:?no}": "a",
        "${N:-}": "",
    }.items():
        assert interpolate(text, given) == expected
    for text in ("${N}", "${N:?no}", "${E:?no}", "${N?no}"):
        with pytest.raises(Missing):
            interpolate([{"a": text}], given)


LINES = [
    line
    for text in re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "docs" / "deployment.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for line in text.splitlines()
]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("docker ")])
def test_commands_of_the_documentation_are_possible(line: str) -> None:
    program, group, *words = shlex.split(line, comments=True)
    assert (program, group) == ("docker", "compose")
    if words[0] == "--profile":
        assert any(words[1] in service.get("profiles", ()) for service in SERVICES.values())
        words = words[2:]
    verb, *rest = words
    assert verb in {"build", "cp", "exec", "ps", "run", "start", "stop", "up"}
    if verb == "run":
        assert rest[0] == "--rm" and rest[1] in SERVICES
        parse_command(rest[2:])
    elif verb == "exec":
        assert rest[0] in SERVICES
    elif verb == "cp":
        name, _, path = rest[0].partition(":")
        assert path in {volume.split(":")[1] for volume in SERVICES[name]["volumes"]}
    else:
        options = [word for word in rest if word.startswith("-")]
        assert set(options) <= {"-d", "--scale"}
        assert {word.partition("=")[0] for word in rest} - set(options) <= set(SERVICES)


@needs("openssl", package="openssl")
def test_the_first_steps_of_the_documentation_make_the_variables(tmp_path: Path) -> None:
    first = next(i for i, line in enumerate(LINES) if line.startswith("docker "))
    (tmp_path / ".env.example").write_bytes((ROOT / ".env.example").read_bytes())
    subprocess.run(["/bin/sh", "-ec", "\n".join(LINES[:first])], cwd=tmp_path, check=True)
    given = {name: value for name, value in dotenv_values(tmp_path / ".env").items() if value}
    assert set(given) == {"SPARSEMOD_DATABASE_PASSWORD"}
    assert not complaints(load(given))
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
