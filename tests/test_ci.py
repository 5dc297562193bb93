"""The CI files: valid by the services' public schemas, and everything that they call is there.

Each check is shown a mistake that it must find.
"""

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
DOCKERFILE = ROOT / "ci" / "Dockerfile"
SCRIPTS = [*sorted((ROOT / "ci").rglob("*.sh")), ROOT / ".ci" / "run"]
JOBS = [*WORKFLOWS, PIPELINE]

needs_schemas = pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed (extra cpugpu[dev])"
)
needs_shellcheck = pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
name = pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)


# -- schemas -----------------------------------------------------------------------------------------------------------


def validate(path: Path, *, like: Path) -> subprocess.CompletedProcess[str]:
    schema = "vendor.buildkite" if like == PIPELINE else "vendor.github-workflows"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_files_are_there() -> None:
    assert [path.name for path in WORKFLOWS] == ["gpu.yml", "soak.yml", "tests.yml"]
    assert PIPELINE.exists()


@needs_schemas
@name
def test_it_is_valid(path: Path) -> None:
    run = validate(path, like=path)
    assert run.returncode == 0, run.stdout + run.stderr


@needs_schemas
@name
def test_a_misspelt_key_in_it_is_found(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    right = "timeout_in_minutes:" if path == PIPELINE else "timeout-minutes:"
    assert right in text
    broken = tmp_path / path.name
    broken.write_text(text.replace(right, "time-limit:", 1))
    assert "time-limit" in validate(broken, like=path).stdout


# -- what the jobs call ------------------------------------------------------------------------------------------------


def without_comments(text: str) -> str:
    return re.sub(r"(^|\s)#.*", "", text)


def scripts_called(text: str) -> set[str]:
    return set(re.findall(r"\bci/[\w/-]+\.sh", without_comments(text)))


def not_there(text: str) -> set[str]:
    """Scripts that cannot be executed, targets that the Makefile has not, settings that nobody reads."""
    text = without_comments(text)
    scripts = scripts_called(text)
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    made = {word for line in re.findall(r"\bmake ((?:[a-z][a-z-]* ?)+)", text) for word in line.split()}
    given = set(re.findall(r"\b([A-Z][A-Z_]+)=", text)) | set(re.findall(r"^ +([A-Z][A-Z_]+): ", text, re.MULTILINE))
    readers = "\n".join(
        [makefile, text, *((ROOT / script).read_text() for script in scripts if (ROOT / script).exists())]
    )
    return (
        {script for script in scripts if not os.access(ROOT / script, os.X_OK)}
        | (made - targets)
        | {setting for setting in given if not re.search(rf"\$[({{]*{setting}\b", readers)}
    )


@name
def test_what_it_calls_is_there(path: Path) -> None:
    text = path.read_text()
    assert not_there(text) == set()
    assert "ci/gpu-stress.sh" in scripts_called(text) or re.search(r"\bmake [a-z ]*\bstress\b", text)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("- run: ci/gpu-strss.sh out", "ci/gpu-strss.sh"),
        ("- run: ci/Dockerfile.sh", "ci/Dockerfile.sh"),
        ("- run: make lint tset SECONDS=30", "tset"),
        ("- run: SECOND_OF_STRESS=5 ci/gpu-stress.sh", "SECOND_OF_STRESS"),
        ("    env:\n      SOAK_HANDOFF: 5\n    run: ci/gpu-stress.sh", "SOAK_HANDOFF"),
    ],
)
def test_what_is_not_there_is_found(text: str, missing: str) -> None:
    assert not_there(text) == {missing}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_has_its_limits(path: Path) -> None:
    text = path.read_text()
    assert "permissions:\n  contents: read\n" in text
    assert "write" not in text
    assert "concurrency:" in text
    assert text.count("runs-on:") == text.count("timeout-minutes:")
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in re.findall(r"uses: (\S+)", text))


# -- scripts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one(path: Path) -> None:
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


@needs_shellcheck
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    run = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def stand_in(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def gpu_stress(out: Path, python: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = ("BENCHMARKS", "MUTANTS", "REQUIRE_GPU", "SECONDS_OF_STRESS", "SHARD", "SOAK_HANDOFFS")
    clean = {name: value for name, value in os.environ.items() if name not in settings}
    return subprocess.run(
        ["bash", str(ROOT / "ci" / "gpu-stress.sh"), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "PYTHON": str(python), **environment},
    )


#: Instead of an interpreter: what is asked of it with -c fails, and all else is told.
NO_TORCH = 'case "$*" in *"-c "*) echo "No module named torch" >&2; exit 1;; esac\necho "ran $*"'
A_GPU = 'case "$*" in *"-c "*) exit 0;; esac\necho "ran $*"'


def test_without_an_accelerator_it_says_so_and_ends(tmp_path: Path) -> None:
    run = gpu_stress(tmp_path / "out", stand_in(tmp_path / "python", NO_TORCH))
    assert run.returncode == 2
    assert run.stdout == ""
    [line] = run.stderr.splitlines()
    assert "sees no accelerator here (No module named torch)" in line
    assert "REQUIRE_GPU=0 goes on with the simulated device" in line
    assert not (tmp_path / "out").exists()


def test_without_an_interpreter_it_says_so_and_ends(tmp_path: Path) -> None:
    run = gpu_stress(tmp_path / "out", tmp_path / "nothing")
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1


def test_it_goes_on_with_the_simulated_device_where_it_may(tmp_path: Path) -> None:
    python = stand_in(tmp_path / "python", NO_TORCH)
    settings = {"SHARD": "2/3", "MUTANTS": "1", "SOAK_HANDOFFS": "5", "SECONDS_OF_STRESS": "7"}
    run = gpu_stress(tmp_path / "out", python, REQUIRE_GPU="0", **settings)
    assert run.returncode == 0
    assert "simulated" in run.stdout.splitlines()[0]
    conformance, mutants, stress, *others = [line for line in run.stdout.splitlines() if line.startswith("ran")]
    # The report of the campaign is rendered at its end, and shows the mutant matrix that lies there then.
    assert mutants.startswith("ran -m stress.mutants ")
    assert f"--json {tmp_path}/out/stress/mutants.json" in mutants
    assert "-p cpugpu.pytest_plugin tests/conformance -k sim" in conformance
    assert "--stress-device=sim --stress-seconds=7" in stress
    assert f"--stress-report={tmp_path}/out/stress --stress-shard=2/3" in stress
    assert [line.split()[2] for line in others] == ["cpugpu", "stress.soak"]
    assert "--hand-offs 5 --device auto" in others[-1]
    assert (tmp_path / "out" / "log.txt").read_text().count("ran") == 5


def test_on_an_accelerator_it_takes_that(tmp_path: Path) -> None:
    run = gpu_stress(tmp_path / "out", stand_in(tmp_path / "python", A_GPU), BENCHMARKS="0")
    assert run.returncode == 0
    conformance, sanitizer, stress, rules = [line for line in run.stdout.splitlines() if line.startswith("ran")]
    assert conformance.startswith("ran -m pytest tests/conformance -k accelerator")  # it is installed there
    assert sanitizer.startswith("ran -m pytest tests/sanitize/test_real.py")
    assert "--stress-device=accelerator --stress-seconds=120" in stress
    assert "--stress-shard" not in stress  # torchrun, Slurm and Buildkite tell the runner
    assert rules == "ran -m cpugpu rules"


def test_a_step_that_fails_is_the_status_and_the_others_run(tmp_path: Path) -> None:
    python = stand_in(tmp_path / "python", f'case "$*" in *tests/conformance*) exit 3;; esac\n{NO_TORCH}')
    run = gpu_stress(tmp_path / "out", python, REQUIRE_GPU="0")
    assert run.returncode == 1
    assert "== failed: 3" in run.stdout
    assert "ran -m cpugpu rules" in run.stdout


@pytest.mark.parametrize(("status", "style"), [(0, "success"), (1, "error")])
def test_the_report_job_tells_the_result(tmp_path: Path, status: int, style: str) -> None:
    """In a copy, for it writes beside itself."""
    script = tmp_path / "ci" / "buildkite" / "report.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "ci" / "buildkite" / "report.sh", script)
    stand_in(tmp_path / "buildkite-agent", 'echo "agent $*" >> told\n[ "$1" = annotate ] && cat >> told; exit 0')
    stand_in(tmp_path / "cpugpu", f'echo "a table"; echo "2 scenarios; $*"; exit {status}')
    for shard in "01":
        (tmp_path / f"shard-{shard}" / "stress").mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == status
    assert (tmp_path / "told").read_text().splitlines() == [
        "agent artifact download shard-*/stress/*.json* .",
        f"agent annotate --context stress --style {style}",
        "2 scenarios; merge stress-report shard-0/stress shard-1/stress",
    ]
    assert "a table" in run.stdout


# -- the container -----------------------------------------------------------------------------------------------------


def container_faults(text: str) -> list[str]:
    """What is wrong with a container file, as far as that shows without building it."""
    lines = re.sub(r"\\\n", " ", without_comments(text)).split("\n")
    steps = [line.split(maxsplit=1) for line in lines if line.strip()]
    faults = []
    base, declared = False, set()
    for keyword, rest in steps:
        if keyword == "ARG":
            declared.add(rest.partition("=")[0])
        elif keyword == "FROM":
            base = True
            faults += [f"{used} is not declared" for used in re.findall(r"\$\{?(\w+)", rest) if used not in declared]
        elif not base:
            faults.append(f"{keyword} before FROM")
        if keyword == "COPY":
            faults += [f"{source} is not there" for source in rest.split()[:-1] if not (ROOT / source).exists()]
        if keyword in ("CMD", "ENTRYPOINT"):
            program = re.findall(r'"([^"]*)"', rest)[0]
            if not os.access(ROOT / program, os.X_OK):
                faults.append(f"{program} is no program")
    users = [rest for keyword, rest in steps if keyword == "USER"]
    if not users or users[-1] == "root":
        faults.append("it runs as root")
    return faults


def test_the_container_is_in_order() -> None:
    text = DOCKERFILE.read_text()
    assert container_faults(text) == []
    assert 'CMD ["ci/gpu-stress.sh", "/results"]' in text


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("COPY stress stress", "COPY strss stress", "strss is not there"),
        ("ARG BASE=", "ARG BASIS=", "BASE is not declared"),
        ("FROM ${BASE}\nWORKDIR /cpugpu", "WORKDIR /cpugpu\nFROM ${BASE}", "WORKDIR before FROM"),
        ("USER stress\n", "", "it runs as root"),
        ('CMD ["ci/gpu-stress.sh"', 'CMD ["ci/stress.sh"', "ci/stress.sh is no program"),
    ],
)
def test_a_mistake_in_the_container_is_found(right: str, wrong: str, fault: str) -> None:
    text = DOCKERFILE.read_text()
    assert right in text
    assert container_faults(text.replace(right, wrong)) == [fault]
