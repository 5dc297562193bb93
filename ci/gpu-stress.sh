#!/usr/bin/env bash
# The stress job, the same everywhere: conformance, campaign, rules, and what is asked for besides. Every CI file calls it.
#
#   ci/gpu-stress.sh [OUTPUT_FOLDER]
#
# PYTHON (python3)         needs torch, pytest and its plugins, hypothesis, rich, jinja2; cpugpu is taken from this checkout
# REQUIRE_GPU (1)          0: go on without an accelerator, on the simulated device
# SECONDS_OF_STRESS (120)  the budget of the campaign
# SHARD                    I/N; by default what torchrun, Slurm or Buildkite has set
# BENCHMARKS (1), MUTANTS (0), SOAK_HANDOFFS (0)   what else to run
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
python=${PYTHON:-python3}
mkdir -p "$out" || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
plugin=()
"$python" -c 'import importlib.metadata as m; m.version("cpugpu")' 2>/dev/null || plugin=(-p cpugpu.pytest_plugin)
status=0
step() {
  echo "== $1"; shift
  "$@" 2>&1 | tee -a "$out/log.txt"
  local rc=${PIPESTATUS[0]}
  [ "$rc" = 0 ] || { echo "== failed: $rc"; status=1; }
}

if "$python" -c 'import sys, torch; sys.exit(not torch.accelerator.is_available())' 2>/dev/null; then
  device=accelerator suffix=-gpu
elif [ "${REQUIRE_GPU:-1}" = 0 ]; then
  device=sim suffix=
else
  echo "gpu-stress.sh: $python sees no accelerator here; REQUIRE_GPU=0 goes on with the simulated device" >&2
  exit 2
fi
echo "== device: $device"
step conformance "$python" -m pytest "${plugin[@]}" tests/conformance -k "$device" --junit-xml="$out/conformance.xml"
step stress "$python" -m pytest "${plugin[@]}" stress --stress-device="$device" --stress-seconds="${SECONDS_OF_STRESS:-120}" \
  --stress-subject=cpugpu:CpuGpuEvent --stress-subject=cpugpu.debug:InstrumentedEvent \
  --stress-report="$out/stress" ${SHARD:+--stress-shard="$SHARD"}
# The instrumented event in check mode: a scenario that breaks a rule which it does not break on purpose fails here.
step rules "$python" -m cpugpu rules
if [ "${MUTANTS:-0}" != 0 ]; then
  step mutants "$python" -m stress.mutants --json "$out/stress/mutants.json"
fi
if [ "${SOAK_HANDOFFS:-0}" != 0 ]; then
  step soak "$python" -m stress.soak --hand-offs "$SOAK_HANDOFFS" --device "$device" --json "$out/soak.json"
fi
if [ "${BENCHMARKS:-1}" != 0 ] && [ "$device" = accelerator ]; then
  step benchmark "$python" -m benchmarks.handoff --name "handoff$suffix"
  step debug-benchmark "$python" -m benchmarks.debug --name "debug$suffix" --operations 1000000
  cp benchmarks/results/*-gpu.json "$out/" 2>/dev/null
fi
exit $status
