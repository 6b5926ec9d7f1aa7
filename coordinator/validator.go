package coordinator

import (
	"errors"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"trellis/results/grid"
)

// wordedValidator says to people which rules a request breaks: protovalidate's own texts speak of protobuf.
type wordedValidator struct{ protovalidate.Validator }

// Validate implements protovalidate.Validator.
func (v wordedValidator) Validate(message proto.Message, options ...protovalidate.ValidationOption) error {
	err := v.Validator.Validate(message, options...)
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		for _, violation := range invalid.Violations {
			violation.Proto.Message = proto.String(grid.RuleInWords(violation))
		}
	}
	return err
}
