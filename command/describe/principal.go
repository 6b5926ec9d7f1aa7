package describe

import (
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Principal is how people read who somebody is: admin/ann. A coordinator without authentication knows nobody: -.
func Principal(p *trellisv1.Principal) string {
	if p == nil {
		return "-"
	}
	return output.EnumWord(p.GetRole()) + "/" + p.GetName()
}
