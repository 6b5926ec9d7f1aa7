#!/bin/bash
# A Trellis coordinator as a batch job of Slurm, on whichever node. All nodes see its folder, which has its data and its address:
#
#     trellis certificates authority --folder FOLDER/certificates
#     trellis certificates node $(sinfo -h -N -o %N | sort -u) --folder FOLDER/certificates
#     sbatch --time=7-0 deploy/slurm/coordinator.sh FOLDER --http :8080
#     trellis launch slurm --coordinator file:FOLDER/address --authority FOLDER/certificates/authority.crt \
#         --certificate FOLDER/certificates/client-admin.crt --count 50
#
# Flags of trellis coordinator follow the folder. Without certificates in the folder, it needs --insecure. Before its time is up, or
# when it is preempted or its node fails, the job goes back into the queue. It goes on wherever it starts again, and workers find
# it there. Nothing is lost, but nothing is trained until then either.
#
#SBATCH --job-name=trellis_coordinator
#SBATCH --cpus-per-task=2
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -u

folder=$(realpath "${1:?usage: sbatch coordinator.sh FOLDER [FLAG of trellis coordinator...]}") && mkdir -p "$folder" || exit 1
shift
# Those of whoever submits it are for other commands.
for variable in ${!TRELLIS_@}; do unset "$variable"; done
certificates=$folder/certificates
if [ -e "$certificates/authority.crt" ]; then
	set -- --authority "$certificates/authority.crt" --certificate "$certificates/node-$(hostname).crt" "$@"
fi
coordinator=
told=
trap 'told=yes; [ -z "$coordinator" ] || kill -TERM "$coordinator" 2>/dev/null' TERM INT
# The port is any that is free: the node may have other users.
"${TRELLIS:-trellis}" coordinator --listen :0 --data "$folder/data" --address-file "$folder/address" "$@" &
coordinator=$!
[ -z "$told" ] || kill -TERM "$coordinator" 2>/dev/null # It came before there was a number to send it to.
# A signal ends the waiting, not the coordinator.
while wait "$coordinator"; code=$?; kill -0 "$coordinator" 2>/dev/null; do :; done
if [ $code -gt 128 ]; then # Of the signal or of the coordinator.
	wait "$coordinator"
	last=$?
	[ $last = 127 ] || code=$last
fi

# A job that was canceled, or that Slurm has requeued itself, is no longer running.
if [ "$told" ]; then
	for try in 1 2 3 4 5; do
		state=$(scontrol show job "$SLURM_JOB_ID") && break
		sleep $try
	done
	if grep -q 'JobState=RUNNING' <<<"$state"; then
		echo "The coordinator has ended: job $SLURM_JOB_ID goes back into the queue."
		told=
		for try in 1 2 3 4 5; do
			# Slurm sends SIGTERM to this script and to scontrol then, and starts the job again in two minutes at the earliest.
			scontrol requeue "$SLURM_JOB_ID" && break
			[ -z "$told" ] || break
			sleep $try
		done
	fi
fi
exit $code
