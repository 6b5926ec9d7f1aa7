#!/usr/bin/env bash
# Checks the API over HTTP against its own description: make check-http. It starts a coordinator in the folder $1, with its page at
# the port $2, and runs schemathesis, the command $3. What fails is in the output, and the coordinator's log is shown then.
set -euo pipefail
folder=$1 http=http://127.0.0.1:$2 schemathesis=$3
data=$(dirname "$0")
command -v "$schemathesis" >/dev/null || { echo "schemathesis is not installed: pip install schemathesis"; exit 0; }

step="start the coordinator"
end() {
	code=$?
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null || true
	((code == 0)) && return
	echo "check-http failed: could not $step (exit $code). The end of the coordinator's log, $folder.log:" >&2
	tail -n 20 "$folder.log" | cut -c -300 >&2
}
trap end EXIT

rm -rf "$folder" "$folder.log"
mkdir -p "$(dirname "$folder")"
./trellis coordinator --data "$folder" --listen 127.0.0.1:0 --http "127.0.0.1:$2" 2>"$folder.log" &
coordinator=$!
address=
while test -z "$address"; do
	kill -0 $coordinator 2>/dev/null
	sleep 0.1
	address=$(sed -n 's/^The coordinator listens on \(.*\)\.$/\1/p' "$folder.log")
done
export TRELLIS_COORDINATOR=$address
./trellis worker --name check --slots 2 2>>"$folder.log" &

# Two studies that a worker has trained, a hook, and a report with a picture.
step="train the studies"
./trellis submit --watch "$data/seen.yaml" >/dev/null 2>>"$folder.log"
./trellis submit --watch --name seen-too "$data/seen.yaml" >/dev/null 2>>"$folder.log"
./trellis hooks create seen --url http://127.0.0.1:9/ >/dev/null 2>>"$folder.log"
TRELLIS_RUN=$(./trellis trials seen -o json | sed -n 's/^.*"run": "\([^"]*\)".*$/\1/p' | sort -u | sed -n 1p)
step="write the report"
curl -sS --fail-with-body -H 'Content-Type: application/octet-stream' --data-binary "@$data/picture.svg" "$http/api/v1/artifacts" \
	>/dev/null
curl -sS --fail-with-body --json "@$data/report.json" "$http/api/v1/reports" >/dev/null
TRELLIS_PICTURE=$(sha256sum "$data/picture.svg" | cut -d' ' -f1)
export TRELLIS_RUN TRELLIS_PICTURE

# Left out is the check that a request is accepted if the description allows it: it does not have all rules of a spec. On a busy
# machine, making up requests takes a while.
check() {
	step="find every answer in the description, with $*"
	"$schemathesis" --config-file "$data/schemathesis.toml" run "$http/api/openapi.json" --max-examples 30 \
		--exclude-checks positive_data_acceptance --suppress-health-check too_slow "$@"
}
# Watches come first, while the study has ended: others don't end by themselves, and of events only what is refused does.
check --include-operation-id WatchStudy
check --include-operation-id WatchEvents --mode negative --phases coverage,fuzzing
check --exclude-operation-id WatchStudy --exclude-operation-id WatchEvents
