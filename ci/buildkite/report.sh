#!/usr/bin/env bash
# In the last job of the pipeline: join what the shards have left, and tell the result on the build's page.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
buildkite-agent artifact download 'shard-*/stress/*.json*' . || exit  # results.jsonl and, where there is one, mutants.json
cpugpu merge stress-report shard-*/stress > merged.txt 2>&1
status=$?
cat merged.txt
if [ "$status" = 0 ]; then style=success; else style=error; fi
tail -n 1 merged.txt | buildkite-agent annotate --context stress --style "$style"
exit "$status"
