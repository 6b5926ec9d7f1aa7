#!/bin/bash
# A Trellis worker as a batch job of Slurm, any number of them as an array. It takes the cores, the memory and the GPUs of its job:
#
#     sbatch --array=1-50 --cpus-per-task=4 --time=4:00:00 deploy/slurm/worker.sh --coordinator HOST:7070 --token-file worker.token
#
# A minute before its time is up, or when it is preempted, the worker hands its runs back with their checkpoints, and the job goes
# back into the queue. It completes when there has been no run for ten minutes.
#
#SBATCH --job-name=trellis-worker
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -u

"${TRELLIS:-trellis}" worker --exit-when-idle "${TRELLIS_EXIT_WHEN_IDLE:-10m}" --drain-timeout "${TRELLIS_DRAIN_TIMEOUT:-50s}" "$@" &
worker=$!
trap 'kill -TERM $worker 2>/dev/null' TERM INT
# A signal ends the first wait, not the worker.
wait $worker
code=$?
while kill -0 $worker 2>/dev/null; do
	wait $worker
	code=$?
done

# 75: start me again. A job that was canceled, or that Slurm has requeued itself, is no longer running.
if [ $code = 75 ] && scontrol show job "$SLURM_JOB_ID" | grep -q 'JobState=RUNNING'; then
	echo "The worker has handed its runs back: job $SLURM_JOB_ID goes back into the queue."
	# Slurm ends this script now, and starts the job again in two minutes at the earliest.
	scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
exit $code
