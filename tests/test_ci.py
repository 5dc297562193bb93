"""The CI files: valid by the services' public schemas, and everything that they call is there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PIPELINE = ROOT / "ci" / "buildkite" / "pipeline.yaml"
SCRIPTS = sorted((ROOT / "ci").glob("*.sh"))
SCHEMAS = dict.fromkeys(WORKFLOWS, "vendor.github-workflows") | {PIPELINE: "vendor.buildkite"}

needs_schemas = pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed (extra cpugpu[dev])"
)


def check(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_schemas
@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_it_is_valid(path: Path) -> None:
    run = check(path, SCHEMAS[path])
    assert run.returncode == 0, run.stdout + run.stderr


@needs_schemas
@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        (PIPELINE, "parallelism: 4", "parallelism: four"),
        (PIPELINE, "retry:", "retry: often\n    rest:"),
        (WORKFLOWS[0], "runs-on:", "runs-at:"),
        (WORKFLOWS[-1], "steps:", "stages:"),
    ],
)
def test_a_mistake_in_it_is_found(path: Path, right: str, wrong: str, tmp_path: Path) -> None:
    text = path.read_text()
    assert right in text
    broken = tmp_path / path.name
    broken.write_text(text.replace(right, wrong, 1))
    assert check(broken, SCHEMAS[path]).returncode != 0


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_what_it_calls_is_there(path: Path) -> None:
    text = re.sub(r"#.*", "", path.read_text())
    called = set(re.findall(r"ci/[\w-]+\.sh", text))
    for script in called:
        assert os.access(ROOT / script, os.X_OK), script
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {word for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", text) for word in line.split()}
    assert made <= targets
    assert "ci/gpu-stress.sh" in called or "stress" in made


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_a_script_is_one(path: Path) -> None:
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_container_copies_what_is_there() -> None:
    text = (ROOT / "ci" / "Dockerfile").read_text()
    copied = [source for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for source in line.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
    entry = re.search(r'^ENTRYPOINT \["([^"]+)"', text, re.MULTILINE)
    assert entry is not None
    assert os.access(ROOT / entry[1], os.X_OK)
    assert re.search(r"^USER (?!root)", text, re.MULTILINE), "a stress job needs no root"


def gpu_stress(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, str(ROOT / "ci" / "gpu-stress.sh"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def python_without_accelerator(tmp_path: Path) -> str:
    """An interpreter in which torch is not to be found, and which runs nothing else: it tells what it was to run."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 1\necho "ran $*"\n')
    fake.chmod(0o755)
    return str(fake)


def test_without_an_accelerator_it_says_so_and_ends(tmp_path: Path) -> None:
    run = gpu_stress(tmp_path, PYTHON=python_without_accelerator(tmp_path))
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "sees no accelerator here; REQUIRE_GPU=0 goes on with the simulated device" in run.stderr
    assert "ran" not in run.stdout


def test_it_goes_on_with_the_simulated_device_where_it_may(tmp_path: Path) -> None:
    python = python_without_accelerator(tmp_path)
    run = gpu_stress(
        tmp_path, PYTHON=python, REQUIRE_GPU="0", SHARD="2/3", MUTANTS="1", SOAK_HANDOFFS="5", SECONDS_OF_STRESS="7"
    )
    assert run.returncode == 0
    told = [line for line in run.stdout.splitlines() if line.startswith("ran")]
    assert "-k sim" in told[0]
    assert "--stress-device=sim --stress-seconds=7" in told[1]
    assert "--stress-shard=2/3" in told[1]
    assert [line.split()[2] for line in told[2:]] == ["cpugpu", "stress.mutants", "stress.soak"]


def test_a_step_that_fails_is_the_status(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 1\ncase "$*" in *rules*) exit 3;; esac\n')
    fake.chmod(0o755)
    run = gpu_stress(tmp_path, PYTHON=str(fake), REQUIRE_GPU="0")
    assert run.returncode == 1
    assert "== failed: 3" in run.stdout
