# What the scripts have in common that show Trellis among other programs. Sourced by them, as
#
#     . showing.sh TRELLIS [FOLDER]
#
# It goes into the folder, or a new one, and sets trellis, folder, wanted (seconds of training) and began. To end, a script traps
# EXIT, ends its processes and calls leave with its exit code.
trellis=$(realpath "${1:?usage: $0 TRELLIS [FOLDER]}")
folder=${2:-$(mktemp -d)}
given=${2:-}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$folder"
wanted=${SECONDS_OF_TRAINING:-180}
began=$SECONDS
trap 'exit 130' INT TERM

say() { printf '%4ds  %s\n' $((SECONDS - began)) "$*"; }
fail() { say "FAILED: $*"; exit 1; }
# until_ WHAT SECONDS COMMAND...: waits until a command succeeds.
until_() {
	local what=$1 end=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || fail "waited in vain until $what"
		sleep 0.5
	done
}
# leave CODE: ends the script. A new folder is kept only where something has failed.
leave() {
	if [ "$1" != 0 ]; then
		echo "Everything is in $folder."
	elif [ -z "$given" ]; then
		rm -rf "$folder"
	fi
	exit "$1"
}
# digest FILE: the digest of a study in the output of run or watch.
digest() { sed -n 's/^Digest: //p' "$1"; }
# pace SPEC [SED...]: sets took, how many milliseconds a study takes that is made small by sed: of 3000 images to train, instead of
# the spec's TRAIN.
pace() {
	local spec=$1 from
	shift
	sed -e 's/TRAIN/3000/; s/^name: .*/name: pace/; s/learning_rate: .*/learning_rate: 1e-3/; s/weight_decay: .*/weight_decay: 0/' \
		"$@" "$spec" >pace.yaml
	from=$(date +%s%3N)
	timeout 300 "$trellis" run -q --slots 2 --data pace pace.yaml >pace.log 2>&1 ||
		{ cat pace.log; fail "no training on this machine"; }
	took=$(($(date +%s%3N) - from))
}
# undisturb SPEC TRAIN: makes study.yaml of so many images, trains it with nothing in the way, and sets want, its digest.
undisturb() {
	sed "s/TRAIN/$2/" "$1" >study.yaml
	timeout 1200 "$trellis" run -q --slots 2 --data undisturbed study.yaml >undisturbed.log 2>&1 ||
		{ cat undisturbed.log; fail "the undisturbed run"; }
	want=$(digest undisturbed.log)
	[ -n "$want" ] || fail "no digest of the undisturbed run"
}
