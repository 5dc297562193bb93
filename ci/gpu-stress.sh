#!/usr/bin/env bash
# The stress job, the same everywhere: conformance, campaign, rules, and what is asked for besides. Every CI file calls it.
#
#   ci/gpu-stress.sh [OUTPUT_FOLDER]
#
# PYTHON (python3)         needs torch, pytest and its plugins, hypothesis, rich, jinja2; cpugpu is taken from this checkout
# REQUIRE_GPU (1)          0: go on without an accelerator, on the simulated device
# SECONDS_OF_STRESS (120)  the budget of the campaign
# SHARD                    I/N; by default what torchrun, Slurm or Buildkite has set
# BENCHMARKS (1)           0: none
# MUTANTS (0)              try the mutants, so many at once
# COMPARE_SANITIZERS (0)   the programs and the corpus under ours and torch's sanitizer, so many processes at once
# SOAK_HANDOFFS (0)        so many hand-offs more; on the host device where there is no GPU
#
# The first line says which device it is. Exit status: 0, 1 when a step failed, 2 when nothing could be run.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
out=${1:-gpu-results}
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

look='
import sys
try:
    import torch
except ImportError as error:
    sys.exit(str(error))
sys.exit(None if torch.accelerator.is_available() else "torch.accelerator.is_available() is False")
'
if problem=$("$python" -W ignore -c "$look" 2>&1); then
  device=accelerator
  echo "== device: the accelerator"
elif [ "${REQUIRE_GPU:-1}" = 0 ]; then
  device=sim
  echo "== device: simulated, for $python sees no accelerator here"
else
  problem=$(tail -n 1 <<< "$problem")
  echo "gpu-stress.sh: $python sees no accelerator here ($problem); REQUIRE_GPU=0 goes on with the simulated device" >&2
  exit 2
fi
mkdir -p "$out" || exit 2
: > "$out/log.txt" || exit 2

pytest=("$python" -m pytest)
"$python" -c 'import importlib.metadata as m; m.version("cpugpu")' 2> /dev/null || pytest+=(-p cpugpu.pytest_plugin)
status=0
step() {
  echo "== $1"; shift
  "$@" 2>&1 | tee -a "$out/log.txt"
  local rc=${PIPESTATUS[0]}
  [ "$rc" = 0 ] || { echo "== failed: $rc"; status=1; }
}

step conformance "${pytest[@]}" tests/conformance -k "$device" --junit-xml="$out/conformance.xml"
if [ "$device" = accelerator ]; then
  step sanitizer "${pytest[@]}" tests/sanitize/test_real.py --junit-xml="$out/sanitizer.xml"
fi
if [ "${MUTANTS:-0}" != 0 ]; then  # before the campaign, whose report shows their matrix
  step mutants "$python" -m stress.mutants --device "$device" --jobs "$MUTANTS" --json "$out/stress/mutants.json"
fi
step stress "${pytest[@]}" stress --stress-device="$device" --stress-seconds="${SECONDS_OF_STRESS:-120}" \
  --stress-subject=cpugpu:CpuGpuEvent --stress-subject=cpugpu.debug:InstrumentedEvent \
  --stress-report="$out/stress" ${SHARD:+--stress-shard="$SHARD"}
# The instrumented event in check mode: a scenario that breaks a rule which it does not break on purpose fails here.
step rules "$python" -m cpugpu rules
if [ "${SOAK_HANDOFFS:-0}" != 0 ]; then
  step soak "$python" -m stress.soak --hand-offs "$SOAK_HANDOFFS" --device auto --json "$out/soak.json"
fi
if [ "${COMPARE_SANITIZERS:-0}" != 0 ] && [ "$device" = accelerator ]; then
  step compare-sanitizers "$python" -m stress.compare_sanitizers --on-device "$out/compare-gpu.json" \
    --jobs "$COMPARE_SANITIZERS"
fi
if [ "${BENCHMARKS:-1}" != 0 ] && [ "$device" = accelerator ]; then
  step benchmark "$python" -m benchmarks.handoff --name handoff-gpu
  step debug-benchmark "$python" -m benchmarks.debug --name debug-gpu --operations 1000000
  step sanitizer-benchmark "$python" -m benchmarks.sanitize_gpu --name sanitize-gpu
  step copy cp benchmarks/results/{handoff,debug,sanitize}-gpu.json "$out/"
fi
exit "$status"
