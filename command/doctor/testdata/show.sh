#!/bin/bash
# Shows trellis doctor on a machine and a cluster with faults that are really there: each is made, and doctor must find it. The rest,
# which can't be made here, tests of this package make up: a node that is behind, a worker with wrong losses.
#
#     [OTHER=TRELLIS-OF-ANOTHER-VERSION] show.sh TRELLIS [NEW-FOLDER]
#
# Needs Linux, root and, of Debian, strace, qemu-user and faketime. A minute. The processor of qemu has no AVX2, and its clock is
# faketime's, which no static program heeds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../../deploy/showing.sh" "$@"
unset ${!TRELLIS_@}
export TRELLIS_CONFIG='' XDG_DATA_HOME=$folder/share XDG_CACHE_HOME=$folder/cache
for tool in strace qemu-x86_64 faketime python3 mount; do
	command -v $tool >/dev/null || fail "$tool is not here: apt-get install strace qemu-user faketime"
done

processes=() mounts=() groups=() numbers=()
finish() {
	local code=$?
	trap - EXIT
	for process in "${processes[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
	# What was killed may take a moment to let go of them.
	for mount in "${mounts[@]}"; do umount --lazy "$mount" || true; done
	for group in "${groups[@]}"; do rmdir "$group" || true; done
	leave $code
}
trap finish EXIT
start() {
	local log=$1
	shift
	"$@" >"$log.log" 2>&1 &
	processes+=($!)
	disown
}
# expect LINE COMMAND...: doctor writes a line that the pattern matches. Its exit code says whether there is a fault.
expect() {
	local code=0 said=expected.log
	local line=$1 want=0
	shift
	timeout 120 "$@" >$said 2>&1 || code=$?
	if grep -q '^fault ' $said; then want=1; fi
	[ $code = $want ] || { cat $said; fail "exit code $code, want $want"; }
	grep -E -m1 -e "^$line" $said >found.log || { cat $said; fail "doctor does not say: $line"; }
	say "$(cut -c1-150 found.log)"
}
# has LINE: the last doctor has said this too.
has() {
	grep -E -m1 -e "^$1" expected.log >found.log || { cat expected.log; fail "doctor does not say: $1"; }
	say "$(cut -c1-150 found.log)"
}
doctor() { expect "$1" "$trellis" doctor --listen 127.0.0.1:0 "${@:2}"; }
disk() {
	mkdir -p "$1"
	mount -t tmpfs -o size="$2" trellis "$1"
	mounts+=("$folder/$1")
}
# leave_free DISK MIB: fills it but for so much. Of a disk of 100 MiB, 10 are kept for what runs.
leave_free() { head -c "$(($(df --output=avail -B1M "$1" | tail -n 1) - $2))M" /dev/zero >>"$1/big"; }

# The machine.
touch file
doctor 'fault +data directory +.*file' --data file/data
doctor 'fault +data directory +/proc/self is not writable' --data /proc/self
disk small 100m
leave_free small 15
doctor 'warning +disk space .*: ' --data small/data
leave_free small 5
doctor 'fault +disk space .*new studies are refused' --data small/data
slow() { # Each write to the disk takes so many microseconds longer, or fails.
	expect "$1" strace -f -qq -o strace.log -e trace=fsync,fdatasync -e inject=fsync,fdatasync:"$2" "$trellis" doctor \
		--listen 127.0.0.1:0 --data data
}
slow 'warning +disk speed ' delay_enter=20000
slow 'fault +disk speed ' delay_enter=150000
slow 'fault +disk speed +a write failed \(input/output error\)' error=EIO
slow 'fault +disk speed +a write failed \(no space left on device\)' error=ENOSPC
doctor_with() { expect "$1" bash -c "$2 && exec \"\$0\" doctor --no-data" "$trellis"; }
doctor_with 'warning +open files +a process may have 1000 open' 'ulimit -n 1000'
doctor_with 'fault +open files +a process may have 200 open' 'ulimit -n 200'
expect 'warning +processor .*portable' qemu-x86_64 -cpu Nehalem "$trellis" doctor --no-data
if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
	group=/sys/fs/cgroup/memory/trellis-doctor-$$ limit=memory.limit_in_bytes
else
	group=/sys/fs/cgroup/trellis-doctor-$$ limit=memory.max
fi
mkdir $group
groups+=($group)
for memory in 'warning 800M' 'fault 200M'; do
	echo "${memory#* }" >$group/$limit || fail "no limit on memory can be set in $group"
	doctor_with "${memory% *} +memory " "echo \$\$ >$group/cgroup.procs"
done
start taken python3 -c 'import socket, time
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); time.sleep(600)'
until_ "a port is taken" 60 test -s taken.log
doctor "fault +--http +127.0.0.1:$(cat taken.log) " --data data --http "127.0.0.1:$(cat taken.log)"
doctor 'fault +--metrics +203.0.113.1:80 is not an address' --data data --metrics 203.0.113.1:80
mkdir -p empty old
expect 'warning +python .*install Python' env PATH="$folder/empty" "$trellis" doctor --no-data --programs
printf '#!/bin/sh\necho 3 9 2\n' >old/python3
chmod +x old/python3
expect 'warning +python +Python 3.9.2' env PATH="$folder/old:$PATH" "$trellis" doctor --no-data --programs

# A cluster.
ports=($(python3 -c 'import socket
s = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]; print(*[one.getsockname()[1] for one in s])'))
nodes=("${ports[@]/#/127.0.0.1:}")
doctor "fault +cluster +.*connection refused" --coordinator "${nodes[0]}" --wait 1s
"$trellis" certificates authority --quiet >/dev/null
"$trellis" certificates node --quiet --expires 7d 127.0.0.1 >/dev/null
certificates=$folder/certificates
export TRELLIS_AUTHORITY=$certificates/authority.crt TRELLIS_CERTIFICATE=$certificates/client-admin.crt
disk narrow 100m
data=("$folder/node0" "$folder/node1" "$folder/narrow/node2")
all=$(IFS=,; echo "${nodes[*]}")
export TRELLIS_COORDINATOR=$all
run() {
	start "node$1" env TRELLIS_CERTIFICATE="$certificates/node-127.0.0.1.crt" "$trellis" coordinator --listen "${nodes[$1]}" \
		--data "${data[$1]}" --join "$all" --artifacts "$folder/artifacts" --lease 2s
}
for node in 0 1 2; do
	run $node
	numbers[node]=${processes[-1]}
done
three() { [ "$("$trellis" cluster status -o csv | grep -cE ',(leader|follower),')" = 3 ]; }
until_ "three nodes form a cluster" 120 three
cluster() { expect "$1" "$trellis" doctor; }
# soon LINE: what comes, and may go again, is seen within two minutes.
soon() {
	says() { "$trellis" doctor >soon.log 2>&1 || true; grep -qE "^$1" soon.log; }
	until_ "doctor says: $1" 120 says "$1"
	say "$(grep -E -m1 "^$1" soon.log | cut -c1-150)"
}
cluster 'warning +workers +there are none'
has 'warning +.*certificate.* '
until_ "a worker can be made" 60 "$trellis" tokens create --role worker --name farm --file token
worker() {
	start "$1" env -u TRELLIS_CERTIFICATE TRELLIS_TOKEN_FILE="$folder/token" "$2" worker --name "$1" --slots 1 \
		--programs
	until_ "$1 has connected" 60 grep -q msg=connected "$1.log"
}
worker lost "$trellis"
lost=${processes[-1]}
printf 'name: slow\nmodel: synthetic\nsynthetic: {epoch_time: 1h}\ngrid: {latent_dim: 1, learning_rate: 1, max_epochs: 2}\n' |
	"$trellis" submit - >/dev/null 2>&1
trains() { "$trellis" study slow -o json | grep -q '"runs_running": 1'; }
until_ "a run is trained" 60 trains
kill -KILL "$lost"
"$trellis" cancel slow --quiet >/dev/null 2>&1
soon 'warning +workers lost '
if [ -n "${OTHER:-}" ]; then # Another version of Trellis.
	worker other "$OTHER"
	cluster 'warning +versions '
	kill "${processes[-1]}" # Where runs fail on all workers, none is avoided.
	until_ "it has left" 60 grep -q drained other.log
fi
worker bad "$trellis"
printf 'name: %s\nprogram: {command: ["false"]}\nobjective: {metric: acc}\ngrid: {lr: {linear: {from: 1, to: 50, count: 50}}, max_epochs: 1}\n' failing |
	"$trellis" submit - >/dev/null 2>&1
soon 'warning +workers avoided '
leave_free narrow 15
cluster "warning +node ${nodes[2]} disk "
leave_free narrow 5
cluster "fault +node ${nodes[2]} disk "
rm narrow/big
# A day and a half ahead: certificates are still valid. Ten days: they are not.
skewed() { expect "$1" faketime -f "+$2" qemu-x86_64 "$trellis" doctor --wait 30s; }
skewed "fault +node ${nodes[0]} clock .*behind this machine's" 36h
skewed 'fault +(cluster|.*certificate).*expired' 10d

leader=$("$trellis" cluster status -o csv | sed -n 's/^[^,]*,\([^,]*\),leader,.*/\1/p')
for node in 0 1 2; do
	if [ "${nodes[node]}" = "$leader" ]; then leads=$node; else follows=$node; fi
done
kill -KILL "${numbers[follows]}"
cluster "fault +node ${nodes[follows]} +can't be reached"
has 'warning +cluster +2 of 3 nodes'
"$trellis" cluster remove --quiet "${nodes[follows]}" >/dev/null 2>&1 || fail "the node can't be removed"
cluster 'warning +cluster +2 of 2 nodes'
kill -KILL "${numbers[leads]}"
soon 'fault +cluster .*none leads'
soon 'fault +node .*not in touch'
say "passed"
