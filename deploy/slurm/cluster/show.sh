#!/bin/bash
# Shows Trellis under Slurm: a study of 200 trials of real training over an array of workers, with a coordinator that is a job and
# moves to another node, a requeue, a preemption and an scancel in the middle; a program on the one node that has a GPU, in a job with
# a time limit; and launch --max. It brings up a Slurm of two nodes on this machine (Debian, as root), and ends it.
#
#     show.sh TRELLIS [FOLDER]
#
# It prints what it has checked, and ends at the first thing that is not so. A FOLDER keeps everything for a look.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../showing.sh" "$@"
interval=2 # Seconds between checkpoints.

processes=()
finish() {
	local code=$?
	trap - EXIT
	for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
	"$here/down.sh" "$folder/slurm" || true
	wait
	leave $code
}
trap finish EXIT

"$here/up.sh" "$folder/slurm"
. "$folder/slurm/environment"
say "Slurm $(sinfo --version | cut -d' ' -f2) is up, with $(sinfo -h -N -p low | wc -l) nodes of 4 cores"

# How large an epoch may be. The time of a start without training is taken off.
export TRELLIS_WAIT=60s
pace "$here/study.yaml" -e 's/latent_dim: .*/latent_dim: [4, 8]/; s/max_epochs: .*/max_epochs: 3/'
train=$((wanted * 2 * 3 * 3200 * 1000 / took / 1000 - 200))
train=$((train < 300 ? 300 : train > 30000 ? 30000 : train))
undisturb "$here/study.yaml" "$train"
say "200 trials in 50 runs of $train images, undisturbed: digest ${want:0:16}"

# A coordinator with TLS, as a job, which asks who its workers are. Nothing preempts what is in partition high.
shared=$folder/coordinator
"$trellis" certificates authority --folder "$shared/certificates" >/dev/null 2>&1
"$trellis" certificates node "$(hostname)" --folder "$shared/certificates" >/dev/null 2>&1
coordinator=$(TRELLIS=$trellis sbatch --parsable --partition high --cpus-per-task 1 --output "$folder/coordinator.log" \
	"$here/../coordinator.sh" "$shared" --checkpoint-interval ${interval}s)
export TRELLIS_COORDINATOR=file:$shared/address TRELLIS_AUTHORITY=$shared/certificates/authority.crt
export TRELLIS_CERTIFICATE=$shared/certificates/client-admin.crt
until_ "the coordinator's job has written its address" 60 [ -s "$shared/address" ]
say "job $coordinator is the coordinator, at $(cat "$shared/address")"
"$trellis" submit study.yaml >/dev/null 2>&1

progress() { "$trellis" study array -o json | sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" | head -1; }
trained() { [ "$(progress epochs)" -ge "$1" ]; }
# underway: the study has not ended yet, so what has happened was in the middle of it.
underway() {
	[ "$(progress trials_succeeded)" -lt 200 ] || fail "the study has ended already: make it longer, SECONDS_OF_TRAINING=$((2 * wanted))"
}
launch() {
	local name=$1
	shift
	${run:-} "$trellis" launch slurm --name "$name" --slots 1 --partition low --folder workers "$@" -- \
		--cache-dir "$folder/cache"
}
if "$trellis" launch slurm --count 1 --coordinator localhost:7070 2>refused.log; then fail "took a loopback address"; fi
# A worker between two runs must not leave while the coordinator moves.
launch show --count 5 --until-idle 90s 2>launch.log
[ "$(stat -c %a workers/show.token)" = 600 ] || fail "the token's file has mode $(stat -c %a workers/show.token)"
until_ "two workers train" 120 trained 2
say "5 workers, with a token that was handed out in a file of mode 0600"

jobs() { squeue -h -r --me -n "trellis-$1" -t "$2" -o %i; }
restarts() { scontrol show job "$1" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p' | head -1; }
state() { scontrol show job "$1" | sed -n 's/^ *JobState=\([A-Z_]*\).*/\1/p' | head -1; }
connected() { grep -c msg=connected "workers/$1-$2.log" || true; }
# again NAME JOB COUNT: the job's worker has been started again, and has connected more than so many times in all.
again() { [ "$(restarts "$2")" -ge 1 ] && [ "$(connected "$1" "$2")" -gt "$3" ]; }
# A requeued job starts again in two minutes, unless somebody has it start now. That must not be at once: its node has
# just revoked the job's credential, also for a start in the next seconds, and Slurm then calls the job FAILED.
hurry() {
	local before='' now
	while sleep 4; do
		now=$(squeue -h -r --me -t PD -o '%i %r' 2>/dev/null | sed -n 's/ BeginTime$//p')
		for job in $now; do
			if grep -qx "$job" <<<"$before"; then scontrol update JobId="$job" StartTime=now 2>/dev/null || true; fi
		done
		before=$now
	done
}
hurry &
processes+=($!)

# moved NODE ADDRESS: the coordinator runs on another node than that one, at another address.
moved() {
	[ "$(state "$coordinator")" = RUNNING ] && [ "$(squeue -h -j "$coordinator" -o %N)" != "$1" ] &&
		[ -s "$shared/address" ] && [ "$(cat "$shared/address")" != "$2" ]
}
# returned: every worker that runs has connected more often than its log in the folder before had it.
returned() {
	local log
	for job in $(jobs show RUNNING); do
		log=workers/show-$job.log
		[ "$(grep -c msg=connected "$log")" -gt "$(grep -c msg=connected "before/${log##*/}")" ] || return 1
	done
}
# move HOW...: a command after which the coordinator's job goes back into the queue. It may not come back to its node.
move() {
	local node address
	node=$(squeue -h -j "$coordinator" -o %N)
	address=$(cat "$shared/address")
	rm -rf before && cp -r workers before
	"$@"
	until_ "the coordinator's job is in the queue again" 60 bash -c "squeue -h -j $coordinator -t PD -o %i | grep -q ."
	scontrol update JobId="$coordinator" ExcNodeList="$node"
	until_ "the coordinator runs elsewhere" 120 moved "$node" "$address"
	until_ "all workers have found it" 120 returned
	say "the coordinator has moved from $node, $address, to $(squeue -h -j "$coordinator" -o %N), $(cat "$shared/address"), and" \
		"its workers have found it ($*)"
}

until_ "all workers have connected" 120 bash -c '[ "$(grep -l msg=connected workers/show-*.log | wc -l)" = 5 ]'
# The other kind of node, and workers that have what is there. The other ones can't train this study.
"$trellis" submit "$here/gpu.yaml" >/dev/null 2>&1
launch limited --partition gpu --gpus 1 --label gpu=a100 --programs --study gpu --count 1 --until-idle 90s \
	--time 1m --sbatch=--signal=B:TERM@20 2>>launch.log
until_ "the worker with a GPU trains" 120 bash -c 'grep -q "running a program.* gpus=\[0\]" workers/limited-*.log'
limited=$(sed -n 's/^limited-\(.*\)\.log$/\1/p' <<<"$(ls workers)")
before=$(connected limited "$limited")
say "job $limited has the GPU of $(squeue -h -r -j "$limited" -o %N), and a run that needs one"

mapfile -t show < <(jobs show RUNNING)
times=$(connected show "${show[0]}")
scontrol requeue "${show[0]}"
until_ "the requeued job starts again" 120 again show "${show[0]}" "$times"
say "job ${show[0]} was requeued with scontrol, and runs again"
underway

high=$(sbatch --parsable --partition high --exclude "$(squeue -h -j "$coordinator" -o %N)" --cpus-per-task 3 --output /dev/null \
	--wrap 'sleep 10')
preempted() {
	grep -q "preemption grace time for JobId=.* to reclaim resources for JobId=$high$" slurm/log/slurmctld.log &&
		[ "$(state "$high")" = COMPLETED ]
}
until_ "a job of another partition has preempted workers" 180 preempted
say "job $high needed three cores of a node, preempted workers there, and ended"
underway

mapfile -t show < <(jobs show RUNNING)
gone=${show[0]}
scancel "$gone"
until_ "the canceled job has ended" 90 bash -c "scontrol show job $gone | grep -q JobState=CANCELLED"
say "job $gone was canceled"
move scontrol requeue "$coordinator"
move scancel --batch --signal=TERM "$coordinator" # As before its time is up.

until_ "the job with a time limit of a minute starts again" 300 again limited "$limited" "$before"
say "job $limited has reached its limit of a minute, handed its run back and started again"

"$trellis" watch array >watch.log 2>&1 || { cat watch.log; fail "the study"; }
timeout 600 "$trellis" watch gpu >gpu.log 2>&1 || { cat gpu.log; fail "the study that needs a GPU"; }
grep -q 'running a program.* from_epoch=\([2-9]\|[1-9][0-9]\) ' "workers/limited-$limited.log" || fail "the program began again"
say "both studies are complete, and the program went on from its checkpoint"
until_ "all jobs have ended for want of work" 480 bash -c "[ \"\$(squeue -h --me -o %A)\" = $coordinator ]"
ended=0
for job in $(scontrol show job -o | sed -n 's/^JobId=\([0-9]*\) .*JobName=trellis-.*/\1/p'); do
	its=$(state "$job")
	[ "$its" = COMPLETED ] || { [ "$its" = CANCELLED ] && [ $((ended++)) = 0 ]; } || fail "job $job has ended as $its"
done
say "all jobs have ended as COMPLETED, but the one that was canceled"

[ "$(digest watch.log)" = "$want" ] || fail "the digest is $(digest watch.log), undisturbed it was $want"
[ "$(progress trials_succeeded) $(progress runs_succeeded) $(progress runs_failed)" = "200 50 0" ] ||
	fail "$(progress trials_succeeded) of 200 trials, $(progress runs_succeeded) of 50 runs"
"$trellis" trials array -o csv >trials.csv
[ "$(sed 1d trials.csv | cut -d, -f2 | sort -u | wc -l) $(sed 1d trials.csv | wc -l)" = "200 200" ] ||
	fail "trials are not there once"
say "every trial is there once, and the digest is that of the undisturbed run"

# What is known when a run goes on, less what its checkpoint has, is trained twice.
read -r resumed twice most < <(sed -n 's/.*msg="run goes on".*"after epoch"=\([0-9]*\) recorded=\([0-9]*\).*/\1 \2/p' \
	coordinator.log |
	awk '{ d = $2 - $1; n++; sum += d; if (d > most) most = d } END { print n + 0, sum + 0, most + 0 }')
seconds=$("$trellis" study array -o json | sed -n 's/^ *"training_seconds": \([0-9.e+]*\),*$/\1/p' | head -1)
allowed=$(awk -v s="$seconds" -v e="$(progress epochs)" -v i=$interval 'BEGIN { print int(i / (s / e)) + 1 }')
[ "$resumed" -gt 0 ] || fail "no run went on on another worker"
[ "$most" -le "$allowed" ] || fail "a run was trained twice for $most epochs, and $allowed take ${interval}s"
say "$resumed times a run went on on another worker, and $twice epochs were trained twice, at most $most of a run" \
	"(${interval}s between checkpoints are $allowed epochs)"

# As many workers as runs wait for. The command is killed in between.
sed -e "s/name: array/name: more/; s/latent_dim: .*/latent_dim: [12, 16]/; s/max_epochs: .*/max_epochs: 10/" \
	study.yaml >more.yaml
elastic() {
	run=exec launch elastic --max 6 --until-idle 8s --every 1s >>elastic.log 2>&1 &
	controller=$!
	processes+=($controller)
}
count() { squeue -h -r --me -n trellis-elastic | wc -l; }
elastic
sleep 3
[ "$(count)" = 0 ] || fail "there are $(count) workers, and nothing to do"
"$trellis" submit more.yaml >/dev/null 2>&1
until_ "there are workers" 60 bash -c '[ "$(squeue -h -r --me -n trellis-elastic | wc -l)" = 6 ]'
kill -KILL $controller
wait $controller 2>/dev/null || true
elastic
while kill -0 $controller 2>/dev/null; do
	now=$(count)
	[ "$now" -le 6 ] || fail "there are $now workers, more than --max"
	sleep 1
done
wait $controller || fail "launch --max: $(tail -1 elastic.log)"
[ "$(count)" = 0 ] || fail "there are workers left"
"$trellis" studies -o csv | grep -q '^more,completed,' || fail "the study is not complete"
scancel "$coordinator"
until_ "the coordinator has ended" 60 bash -c '[ -z "$(squeue -h --me)" ]'
say "launch --max had no workers, then 6, also after it was killed and started again, and none in the end"
say "passed"
