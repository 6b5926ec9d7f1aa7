package grid

import (
	"fmt"
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
