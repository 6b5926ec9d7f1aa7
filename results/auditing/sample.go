package auditing

import (
	"math"
	"strconv"
)

// hashDigits is how many hexadecimal digits of a run's id decide whether it is audited.
const hashDigits = 13

// Sampled says whether a run is audited, given the share of the runs that are, and the smallest id of the study's runs.
// Ids are hashes, so a run is chosen with the probability of the share, and always the same ones, whoever asks. So that
// a small study is audited too, the run with the smallest id always is.
func Sampled(share float64, id, smallest string) bool {
	if share <= 0 {
		return false
	}
	if share >= 1 || id == smallest {
		return true
	}
	// 52 bits: a float64 has them exactly.
	hash, err := strconv.ParseUint(id[:min(hashDigits, len(id))], 16, 64)
	return err == nil && float64(hash) < share*math.Exp2(4*hashDigits)
}
