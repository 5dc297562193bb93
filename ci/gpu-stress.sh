#!/usr/bin/env bash
# The GPU job: conformance, stress and benchmark on this machine's accelerator. Fails if there is none.
#
#   ci/gpu-stress.sh [OUTPUT_FOLDER]
#
# SECONDS_OF_STRESS (120) is the budget of the stress run. PYTHON (python3) needs torch, pytest, pytest-xdist,
# pytest-timeout and hypothesis; cpugpu is taken from this checkout.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
python=${PYTHON:-python3}
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
plugin=()
"$python" -c 'import importlib.metadata as m; m.version("cpugpu")' 2>/dev/null || plugin=(-p cpugpu.pytest_plugin)
status=0
step() { echo "== $1"; shift; "$@" 2>&1 | tee -a "$out/log.txt"; local rc=${PIPESTATUS[0]}; [ "$rc" = 0 ] || { echo "== failed: $rc"; status=1; }; }

"$python" -c 'import torch; assert torch.accelerator.is_available(), "no accelerator here"; print(torch.__version__, torch.get_device_module().get_device_name())' || exit 1
step conformance "$python" -m pytest "${plugin[@]}" tests/conformance -k accelerator --junit-xml="$out/conformance.xml"
step stress "$python" -m pytest "${plugin[@]}" stress --stress-device=accelerator --stress-seconds="${SECONDS_OF_STRESS:-120}" \
  --stress-subject=cpugpu:CpuGpuEvent --stress-subject=cpugpu.debug:InstrumentedEvent --junit-xml="$out/stress.xml"
# The instrumented event in check mode: a scenario that breaks a rule which it does not break on purpose fails here.
step rules "$python" -m cpugpu rules
step benchmark "$python" -m benchmarks.handoff --name handoff-gpu
step debug-benchmark "$python" -m benchmarks.debug --name debug-gpu --operations 1000000
cp benchmarks/results/*-gpu.json "$out/" 2>/dev/null
exit $status
