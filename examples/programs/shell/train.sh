#!/bin/sh
# Fits a line to points by gradient descent with momentum.
set -eu

# Slope, intercept, and how both last changed.
state="0 0 0 0"
if [ -n "${TRELLIS_RESUME:-}" ]; then
	state=$(cat "$TRELLIS_RESUME/state")
fi

epoch=$TRELLIS_FIRST_EPOCH
while [ "$epoch" -le "$TRELLIS_LAST_EPOCH" ]; do
	# Four numbers more, and the mean square error.
	result=$(awk -v state="$state" -v rate="$TRELLIS_PARAM_RATE" -v momentum="$TRELLIS_PARAM_MOMENTUM" '
		BEGIN { split(state, s, " ") }
		{
			error = s[1] * $1 + s[2] - $2
			square += error * error
			slope += error * $1
			intercept += error
		}
		END {
			s[3] = momentum * s[3] - rate * slope / NR
			s[4] = momentum * s[4] - rate * intercept / NR
			printf "%.17g %.17g %.17g %.17g %.17g\n", s[1] + s[3], s[2] + s[4], s[3], s[4], square / NR
		}' points.txt)
	state=${result% *} loss=${result##* }

	# A checkpoint is a folder of its own, and the report names it.
	mkdir -p "checkpoints/$epoch"
	echo "$state" >"checkpoints/$epoch/state"
	echo "{\"epoch\": $epoch, \"loss\": $loss, \"checkpoint\": \"checkpoints/$epoch\"}" >>"$TRELLIS_REPORTS"
	epoch=$((epoch + 1))
done
echo "the line: $state"
