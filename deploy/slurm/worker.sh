#!/bin/bash
# A Trellis worker as a batch job of Slurm, any number of them as an array. It takes the cores, the memory and the GPUs of its job.
# The files of the command line are on a file system that all nodes see:
#
#     sbatch --array=1-50 --cpus-per-task=4 --time=4:00:00 deploy/slurm/worker.sh \
#         --coordinator HOST:7070 --authority authority.crt --token-file worker.token
#
# One to two minutes before its time is up, or when it is preempted, the worker hands its runs back with their checkpoints, and the
# job goes back into the queue. It completes when there has been no run for ten minutes.
#
#SBATCH --job-name=trellis-worker
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -u

# One job of an array has the number of the array, which stands for all of its jobs.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}

worker=
told=
trap 'told=yes; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null' TERM INT
# Slurm kills a job KillWait after SIGTERM, by default 30 seconds.
"${TRELLIS:-trellis}" worker --exit-when-idle "${TRELLIS_EXIT_WHEN_IDLE:-10m}" \
	--drain-timeout "${TRELLIS_DRAIN_TIMEOUT:-25s}" "$@" &
worker=$!
[ -z "$told" ] || kill -TERM "$worker" 2>/dev/null # It came before there was a number to send it to.
# A signal ends the waiting, not the worker.
while wait "$worker"; code=$?; kill -0 "$worker" 2>/dev/null; do :; done
if [ $code -gt 128 ]; then # Of the signal or of the worker.
	wait "$worker"
	last=$?
	[ $last = 127 ] || code=$last
fi

# 75: start me again. A job that was canceled, or that Slurm has requeued itself, is no longer running.
if [ $code = 75 ]; then
	for try in 1 2 3 4 5; do
		state=$(scontrol show job "$job") && break
		sleep $try
	done
	if grep -q 'JobState=RUNNING' <<<"$state"; then
		echo "The worker has handed its runs back: job $job goes back into the queue."
		told=
		for try in 1 2 3 4 5; do
			# Slurm sends SIGTERM to this script and to scontrol then, and starts the job again in two minutes at the earliest.
			scontrol requeue "$job" && break
			[ -z "$told" ] || break
			sleep $try
		done
	fi
fi
exit $code
