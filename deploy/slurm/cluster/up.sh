#!/bin/bash
# Brings up Slurm on this machine: a controller and two nodes of four cores, as root, all files in one folder. Nothing of
# a Slurm that is installed otherwise is touched. Ports are SLURM_PORT and the next two.
#
#     up.sh FOLDER; . FOLDER/environment; sinfo; down.sh FOLDER
#
# Jobs of partition "high" preempt those of "low", which get a grace of 20 seconds and go back into the queue. Partition "gpu" is one
# node alone, with a GPU that is none: /dev/null stands for its device.
set -euo pipefail
mkdir -p "${1:?usage: up.sh FOLDER}"
folder=$(cd "$1" && pwd)
port=${SLURM_PORT:-26817}

[ "$(id -u)" = 0 ] || { echo "up.sh needs root: slurmd starts jobs as other users"; exit 1; }
if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
	# Packages must not start services.
	export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client munge >"$folder/apt.log" 2>&1 ||
		{ cat "$folder/apt.log"; exit 1; }
fi

install -d -m 755 "$folder" "$folder/run" "$folder/log" "$folder/spool" "$folder/spool/first" "$folder/spool/second"
install -d -m 700 "$folder/state"
[ -s "$folder/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")

cat >"$folder/slurm.conf" <<END
ClusterName=trellis
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
# That it preempts jobs, it says only so.
SlurmctldDebug=debug
SlurmdLogFile=$folder/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# How jobs ended: there is no database.
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/ended
MpiDefault=none
SwitchType=switch/none
# The nodes have as many cores as it says here.
SlurmdParameters=config_overrides
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
# Time limits are looked at as often as jobs are scheduled.
SchedulerParameters=sched_interval=5,batch_sched_delay=0,bf_interval=5
MinJobAge=3600
ReturnToService=2
KillWait=30
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# Without this, --signal is for time limits alone: a preempted job would hear of it when its grace is over.
SlurmctldParameters=preempt_send_user_signal
NodeName=first NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 State=UNKNOWN
NodeName=second NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 Gres=gpu:1 State=UNKNOWN
PartitionName=low Nodes=first,second Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=first,second MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
PartitionName=gpu Nodes=second MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
END
echo "NodeName=second Name=gpu File=/dev/null" >"$folder/gres.conf"
echo "export SLURM_CONF=$folder/slurm.conf" >"$folder/environment"
export SLURM_CONF=$folder/slurm.conf

# lives FILE NAME: the process whose number is in a file is that program.
lives() { [ "$(cat "/proc/$(cat "$1" 2>/dev/null)/comm" 2>/dev/null)" = "$2" ]; }

lives "$folder/run/munged.pid" munged ||
	munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.pid" \
		--log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed"
lives "$folder/run/slurmctld.pid" slurmctld || slurmctld
for node in first second; do
	lives "$folder/run/$node.pid" slurmd || slurmd -N $node
done
for ((i = 0; i < 300; i++)); do
	[ "$(sinfo -h -N -p low -o %T 2>/dev/null | grep -cE '^(idle|mixed|allocated)$')" = 2 ] && exit 0
	sleep 0.2
done
echo "the nodes did not come up: see $folder/log"
sinfo
exit 1
