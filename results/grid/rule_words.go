package grid

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"
)

// rulesInWords are the texts that protovalidate has for its own rules, which speak of protobuf, with those of ours. They are replaced
// one after the other.
var rulesInWords = strings.NewReplacer(
	"value is required", "is missing or empty",
	"repeated value must contain unique items", "each value may be given once only",
	"must be greater than or equal to", "must be at least",
	"and less than or equal to", "and at most",
	"must be less than or equal to", "must be at most",
	"must be greater than", "must be above",
	"must be less than", "must be below",
)

// RuleInWords is what a broken rule says to people.
func RuleInWords(violation *protovalidate.Violation) string {
	return rulesInWords.Replace(violation.Proto.GetMessage())
}

// InWords says to people which rules are broken, where: batch_size: must be at least 1.
func InWords(invalid *protovalidate.ValidationError) string {
	texts := make([]string, len(invalid.Violations))
	for i, violation := range invalid.Violations {
		path := protovalidate.FieldPathString(violation.Proto.GetField())
		for _, list := range [...]string{".numbers", ".integers", ".texts", ".booleans"} {
			path = strings.TrimSuffix(path, list)
		}
		texts[i] = fmt.Sprintf("%s: %s", path, RuleInWords(violation))
		if path == "" {
			texts[i] = RuleInWords(violation)
		}
	}
	return strings.Join(texts, "; ")
}

// count is a number that stops at the largest there is.
type count struct{ n uint64 }

func (c *count) times(n uint64) {
	high, low := bits.Mul64(c.n, n)
	if c.n = low; high > 0 {
		c.n = math.MaxUint64
	}
}

func (c *count) plus(n uint64) {
	sum, carry := bits.Add64(c.n, n, 0)
	if c.n = sum; carry > 0 {
		c.n = math.MaxUint64
	}
}

func (c count) String() string {
	if c.n == math.MaxUint64 {
		return "more than " + grouped(c.n-1)
	}
	return grouped(c.n)
}

// grouped writes a number with commas.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var s strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			s.WriteByte(',')
		}
		s.WriteRune(digit)
	}
	return s.String()
}
