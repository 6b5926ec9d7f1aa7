#!/bin/bash
# Ends what up.sh FOLDER has started, jobs first. The files stay.
set -u
folder=$(cd "${1:?usage: down.sh FOLDER}" && pwd) || exit 1
export SLURM_CONF=$folder/slurm.conf
# is NUMBER NAME: the process is that program.
is() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ]; }
if is "$(cat "$folder/run/slurmctld.pid" 2>/dev/null)" slurmctld; then
	timeout 10 scancel --full --signal=KILL --me 2>/dev/null
	timeout 10 scancel --me 2>/dev/null
	for ((i = 0; i < 50; i++)); do
		[ -n "$(timeout 5 squeue -h -t R,CG,S 2>/dev/null)" ] || break
		sleep 0.2
	done
fi
for its in first:slurmd second:slurmd slurmctld:slurmctld munged:munged; do
	number=$(cat "$folder/run/${its%:*}.pid" 2>/dev/null) && is "$number" "${its#*:}" || continue
	kill "$number"
	for ((i = 0; i < 50; i++)); do
		is "$number" "${its#*:}" || continue 2
		sleep 0.2
	done
	kill -KILL "$number"
done
exit 0
