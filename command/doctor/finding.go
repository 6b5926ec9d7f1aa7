package doctor

import (
	"encoding/csv"
	"fmt"
	"io"

	"trellis/command/output"
)

// state says how bad a finding is.
type state string

const (
	fine    state = "ok"
	warning state = "warning"
	fault   state = "fault"
)

// finding is what a check has found. Its field names are those of -o json, yaml and csv.
type finding struct {
	Check string `json:"check" yaml:"check"`
	State state  `json:"state" yaml:"state"`
	Found string `json:"found" yaml:"found"`
	// Advice says what to do. Empty if there is nothing to do.
	Advice string `json:"advice" yaml:"advice"`
}

// writeFindings writes the findings in one of the formats, for people one line each.
func writeFindings(out io.Writer, format output.Format, findings []finding) error {
	document := struct {
		Findings []finding `json:"findings" yaml:"findings"`
	}{findings}
	switch format {
	case output.JSON, output.YAML:
		return output.WriteDocument(out, format, document)
	case output.CSV:
		records := [][]string{{"check", "state", "found", "advice"}}
		for _, f := range findings {
			records = append(records, []string{f.Check, string(f.State), f.Found, f.Advice})
		}
		return csv.NewWriter(out).WriteAll(records)
	}
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	for _, f := range findings {
		advice := ""
		if f.Advice != "" {
			advice = ": " + f.Advice
		}
		if _, err := fmt.Fprintf(out, "%-7s  %-*s  %s%s\n", f.State, width, f.Check, f.Found, advice); err != nil {
			return err
		}
	}
	return nil
}
