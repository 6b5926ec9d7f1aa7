#!/bin/bash
# Shows a study whose checkpoints are in a bucket of S3, while the service has trouble: keys that it refuses, a service that
# stalls, and one that goes away for a minute while a worker is killed. The service is versitygw: VERSITYGW names it, or it is
# in PATH, or Go builds it, which takes minutes.
#
#     show.sh TRELLIS [FOLDER]
#
# It prints what it has checked and what Trellis said, and ends at the first thing that is not so. A FOLDER keeps everything for
# a look. Ports are S3_PORT and COORDINATOR_PORT.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../showing.sh" "$@"
s3_port=${S3_PORT:-27900}
export TRELLIS_COORDINATOR=127.0.0.1:${COORDINATOR_PORT:-27071} TRELLIS_WAIT=60s
export AWS_ACCESS_KEY_ID=show AWS_SECRET_ACCESS_KEY=show-secret AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
unset AWS_PROFILE AWS_SESSION_TOKEN
bucket="s3://trellis/checkpoints?endpoint=http://127.0.0.1:$s3_port&use_path_style=true&region=us-east-1"

# said FILE PATTERN: prints the message of a log that has the pattern.
said() {
	local line
	line=$(grep -m1 -e "$2" <<<"$(cat "$1")") || fail "$1 does not say: $2"
	echo "       $(sed 's/^time=[^ ]* //; s/ \(study\|run\|attempt\|sha256\)=[^ ]*//g' <<<"$line")"
}

server='' coordinator=''
declare -A workers=()
finish() {
	local code=$?
	trap - EXIT
	[ -z "$server" ] || kill -CONT "$server" 2>/dev/null || true
	for process in $server $coordinator "${workers[@]}"; do kill "$process" 2>/dev/null || true; done
	local end=$((SECONDS + 10))
	while [ -n "$(jobs -r)" ] && ((SECONDS < end)); do sleep 0.2; done
	for process in $server $coordinator "${workers[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
	wait
	leave $code
}
trap finish EXIT

versitygw=${VERSITYGW:-$(command -v versitygw || true)}
if [ -z "$versitygw" ]; then
	say "building versitygw"
	GOBIN=$folder/bin CGO_ENABLED=0 timeout 1200 "${GO:-go}" install -ldflags '-s -w' \
		github.com/versity/versitygw/cmd/versitygw@v1.8.0 2>build.log || { cat build.log; fail "versitygw"; }
	versitygw=$folder/bin/versitygw
fi
port_open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
serve() {
	if port_open "$s3_port"; then fail "port $s3_port is taken: set S3_PORT to another"; fi
	mkdir -p objects/trellis
	ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
		"$versitygw" --port "127.0.0.1:$s3_port" posix "$folder/objects" >>server.log 2>&1 </dev/null &
	server=$!
	until_ "versitygw answers" 30 port_open "$s3_port"
}
end_server() {
	kill -KILL "$server"
	wait "$server" 2>/dev/null || true
	server=''
}
serve
say "versitygw is up"

# What a coordinator says that can't use its bucket. It must end by itself.
refused() {
	local name=$1 pattern=$2 code=0
	shift 2
	env "$@" timeout 60 "$trellis" coordinator --listen "$TRELLIS_COORDINATOR" --data "refused-$name" --artifacts "$bucket" \
		>"refused-$name.log" 2>&1 || code=$?
	[ "$code" = 1 ] || { cat "refused-$name.log"; fail "the coordinator has ended with $code"; }
	said "refused-$name.log" "^trellis: .*$pattern"
}
say "a coordinator with a wrong secret, a wrong key, and none:"
refused secret 'SignatureDoesNotMatch.*check the keys' AWS_SECRET_ACCESS_KEY=wrong
refused key 'check the keys' AWS_ACCESS_KEY_ID=nobody
refused nothing "found no keys for the bucket's service: check the keys" -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY
say "one whose service stalls, and one whose service is not there:"
kill -STOP "$server"
refused stalled 'does not answer'
kill -CONT "$server"
end_server
refused gone 'connection refused'
serve

# How large an epoch may be. The time of a start without training is taken off.
pace "$here/study.yaml" -e 's/max_epochs: .*/max_epochs: 6/'
train=$((wanted * 2 * 6 * 3200 * 1000 / took / (8 * 30) - 200))
train=$((train < 1500 ? 1500 : train > 49000 ? 49000 : train))
undisturb "$here/study.yaml" "$train"
say "16 trials in 8 runs of $train images, undisturbed and with a folder: digest ${want:0:16}"

coordinate() {
	"$trellis" coordinator --listen "$TRELLIS_COORDINATOR" --checkpoint-interval 2s "$@" >>coordinator.log 2>&1 &
	coordinator=$!
}
worker() {
	"$trellis" worker --name "$1" --slots "$2" --cache-dir cache >"$1.log" 2>&1 &
	workers[$1]=$!
}
coordinate --data data --artifacts "$bucket"
worker first 1
worker second 1
timeout 60 "$trellis" submit study.yaml >/dev/null 2>&1 || fail "the study is refused"
progress() { timeout 30 "$trellis" study bucket -o json | sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" | head -1; }
at_least() { [ "$(progress "$1")" -ge "$2" ]; }
objects() { find objects/trellis/checkpoints -type f -path '*/[0-9a-f][0-9a-f]/*' 2>/dev/null | wc -l; }
more_objects() { [ "$(objects)" -gt "$1" ]; }

until_ "a run has ended" 300 at_least runs_succeeded 1
until_ "there are checkpoints" 60 more_objects 2
timeout 60 "$trellis" model get bucket --file early.safetensors >/dev/null 2>&1 || fail "no model while the study runs"
say "two workers train, there are $(objects) checkpoints in the bucket, and the best model so far can be had"

kill -STOP "$server"
stalled=$SECONDS
before=$(progress epochs)
code=0
timeout 60 "$trellis" model get bucket --file stalled.safetensors >stalled.log 2>&1 || code=$?
say "the service stalls; whoever wants a model is told:"
[ "$code" != 0 ] && [ "$code" != 124 ] || { cat stalled.log; fail "model get has ended with $code"; }
said stalled.log 'does not answer'
sleep 25
after=$(progress epochs)
[ "$after" -gt "$before" ] || fail "training does not go on while the service stalls"
kill -CONT "$server"
stalled=$((SECONDS - stalled))
held=$(objects)
until_ "checkpoints come to the bucket again" 90 more_objects "$held"
say "it stalled for ${stalled}s, in which $((after - before)) epochs were trained, and checkpoints come to the bucket again:"
said <(cat first.log second.log) 'could not upload'

# A run that is trained for a while has a checkpoint.
in_midst() { tail -n 1 "$1" | grep -q msg=training && (($(date +%s) - $(stat -c %Y "$1") >= 5)); }
until_ "the first worker is in the midst of a run" 200 in_midst first.log
end_server
away=$SECONDS
kill -KILL "${workers[first]}"
wait "${workers[first]}" 2>/dev/null || true
unset 'workers[first]'
# It has slots for all runs that wait, so it also gets the one that was lost.
worker third 8
say "the service is gone, a worker is killed, and another comes. It said:"
until_ "the third worker wants a checkpoint" 55 grep -q 'could not get the checkpoint' third.log
said third.log 'could not get the checkpoint'
((SECONDS - away >= 60)) || sleep $((60 - SECONDS + away))
serve
until_ "the run goes on from its checkpoint" 60 grep -qE 'msg=training .*from_epoch=([2-9]|[1-9][0-9])' third.log
say "the service is back after $((SECONDS - away))s. The run goes on:"
said third.log 'msg=training .*from_epoch=\([2-9]\|[1-9][0-9]\)'

timeout 1200 "$trellis" watch bucket >watch.log 2>&1 || { cat watch.log; fail "the study"; }
[ "$(digest watch.log)" = "$want" ] || fail "the digest is $(digest watch.log), undisturbed it was $want"
[ "$(progress trials_succeeded) $(progress runs_succeeded) $(progress runs_failed)" = "16 8 0" ] ||
	fail "$(progress trials_succeeded) of 16 trials, $(progress runs_succeeded) of 8 runs"
timeout 60 "$trellis" trials bucket -o csv >trials.csv
[ "$(sed 1d trials.csv | cut -d, -f2 | sort -u | wc -l) $(sed 1d trials.csv | wc -l)" = "16 16" ] ||
	fail "trials are not there once"
say "the study is complete: every trial is there once, and the digest is that of the undisturbed run"

if grep -hE 'gave up|starting at epoch 1|could not be saved|refused a checkpoint' ./*.log; then fail "something was lost"; fi
models() {
	for trial in $(seq 0 15); do
		timeout 60 "$trellis" model get bucket --trial "$trial" --file "$1-$trial.safetensors" >model.log 2>&1 ||
			{ cat model.log; fail "there is no model of trial $trial"; }
	done
}
models disturbed
for name in "${!workers[@]}"; do
	kill "${workers[$name]}"
	code=0
	wait "${workers[$name]}" || code=$?
	[ "$code" = 75 ] || fail "worker $name has ended with $code, want 75: start me again"
	unset "workers[$name]"
done
stop() {
	kill "$coordinator"
	wait "$coordinator" || fail "the coordinator has ended with $?"
	coordinator=''
}
stop
coordinate --data undisturbed
models undisturbed
stop
for trial in $(seq 0 15); do
	cmp "disturbed-$trial.safetensors" "undisturbed-$trial.safetensors" || fail "the model of trial $trial is another"
done
while read -r sum file; do
	[[ $(basename "$file") = "$sum"-* ]] || fail "$file is not what its name says"
done < <(find objects/trellis/checkpoints -type f -path '*/[0-9a-f][0-9a-f]/*' -exec sha256sum {} +)
say "the models of all 16 trials are those of the undisturbed run, byte for byte, and all $(objects) objects are whole"
say "passed"
