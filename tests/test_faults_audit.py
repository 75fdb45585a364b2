"""The auditor of benchmarks/faults.py finds each kind of loss; its library changes clock and disk on command."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support_store import Suggestion, completed, fill, point, spec

from service.files.artifacts import ArtifactFiles
from service.store import Store
from sparsemod.records import Artifact, Candidate

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from faults_audit import Watch, audit

sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Database and files of two completed trials, each with its curve and its files."""
    folder = tmp_path_factory.mktemp("sound")
    made = Store.open(f"sqlite:///{folder / 'sparsemod.db'}")
    files = ArtifactFiles(folder / "artifacts", 10_000)
    identity = made.create_experiment(spec(budgets={})).id
    for width, error in enumerate((0.5, 0.1)):
        candidate = Candidate(parameters={"width": width}, origin="sobol", round="r1")
        fill(made, identity, [Suggestion(candidate)])
        claim = made.claim("w")
        assert claim is not None
        made.points(claim.attempt, claim.token, [point(1), point(2)])
        artifacts = []
        for kind in ("weights", "network"):
            info = files.add(b"%s of %d" % (kind.encode(), width), made)
            artifacts.append(Artifact(kind=kind, digest=info.digest, size=info.size, name=kind))
        made.finish(claim.attempt, claim.token, completed(error, artifacts=tuple(artifacts)))
    made.close()
    return folder


@pytest.fixture
def files(sound: Path, tmp_path: Path) -> ArtifactFiles:
    shutil.copytree(sound, tmp_path / "copy")
    return ArtifactFiles(tmp_path / "copy" / "artifacts", 10_000)


@pytest.fixture
def store(files: ArtifactFiles) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{files.root.parent / 'sparsemod.db'}")
    yield made
    made.close()


def change(statement: str) -> Callable[[Store, ArtifactFiles], None]:
    def apply(store: Store, files: ArtifactFiles) -> None:
        with store._write() as connection:
            connection.exec_driver_sql(statement)

    return apply


def lose_a_file(store: Store, files: ArtifactFiles) -> None:
    files.path(store.trial(1, 0).artifacts[0].digest).unlink()


def damage_a_file(store: Store, files: ArtifactFiles) -> None:
    path = files.path(store.trial(1, 0).artifacts[0].digest)
    path.write_bytes(path.read_bytes()[::-1])


LOSSES = {
    "missing": lose_a_file,
    "damaged": damage_a_file,
    "epochs": change("DELETE FROM curve_points WHERE attempt_id = 2 AND epoch = 1"),
    "only the files": change("DELETE FROM trial_artifacts WHERE trial_id = 1 AND kind = 'network'"),
    "counters of the events": change("DELETE FROM events WHERE counter = 3"),
    "2 completed attempts": change("UPDATE attempts SET trial_id = 1"),
    "indices": change('UPDATE trials SET "index" = 7 WHERE id = 2'),
    "events and states differ": change("UPDATE trials SET state = 'queued' WHERE id = 2"),
    "hypervolume": change("UPDATE trials SET finished_event = 100 - finished_event"),
}


def test_a_sound_experiment_passes(store: Store, files: ArtifactFiles) -> None:
    assert audit(store, files, 1) == []


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_is_found(store: Store, files: ArtifactFiles, loss: str) -> None:
    LOSSES[loss](store, files)
    found = audit(store, files, 1)
    assert any(loss in one for one in found), found


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE trials SET state = 'stopped' WHERE id = 1", "trial 0 was completed at event"),
        ("UPDATE attempts SET state = 'running', trial_id = 1", "trial 0 has 2 running attempts"),
        (
            "UPDATE attempts SET state = 'running' WHERE id = 1",
            "trial 0 is completed with 1 running attempts",
        ),
        ("DELETE FROM trials WHERE id = 1", "a finished trial is gone"),
        ("DELETE FROM events", "the last event was"),
    ],
)
def test_each_wrong_moment_is_found(store: Store, files: ArtifactFiles, statement: str, found: str) -> None:
    watch = Watch(store, 1)
    watch.look()
    watch.look()
    assert watch.violations == [] and watch.looks == 2
    change(statement)(store, files)
    watch.look()
    assert any(found in one for one in watch.violations), watch.violations


def test_the_library_changes_clock_and_disk(tmp_path: Path) -> None:
    library, control = tmp_path / "shim.so", tmp_path / "control"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(BENCHMARKS / "faults_shim.c"), "-ldl"],
        check=True,
    )  # fmt: skip
    code = f"""
import errno, time
before = time.time()
with open({str(control)!r}, "r+b") as file:
    import struct
    file.write(struct.pack("qq", 3600 * 10**9, 1)); file.flush()
print(round((time.time() - before) / 3600), time.monotonic() > 0)
try:
    open({str(tmp_path / "new")!r}, "wb", buffering=0).write(b"x")
except OSError as error:
    print(error.errno == errno.ENOSPC)
"""
    control.write_bytes(struct.pack("qq", 0, 0))
    environment = {"LD_PRELOAD": str(library), "SPARSEMOD_FAULTS": str(control), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (0, ["1", "True", "True"]), done.stderr
