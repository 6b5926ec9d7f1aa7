//go:build unix

package program

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// threeEpochs reports what it was asked for.
const threeEpochs = `for e in 1 2 3; do echo "{\"epoch\": $e, \"loss\": 0.$e}" >> "$TRELLIS_REPORTS"; done`

func TestReports(t *testing.T) {
	h := newHarness(t, threeEpochs+`; echo done`)
	result := h.mustRun()
	if !slices.Equal(h.epochs(), []int{1, 2, 3}) || h.reports[2].Metrics["loss"] != 0.3 {
		t.Errorf("got reports %v", h.reports)
	}
	if result.Epochs != 3 || result.Returned || result.Beyond {
		t.Errorf("got result %+v", result)
	}
	if h.output() != "done\n" {
		t.Errorf("got output %q", h.output())
	}
}

// What a program is told: run.json, variables and arguments say the same.
func TestParametersReachTheProgram(t *testing.T) {
	hostile := `$(touch hacked); "quoted" 'x' ; rm -rf *`
	h := newHarness(t, `cat "$TRELLIS_RUN"
		echo "$TRELLIS_PARAM_OPTIMIZER_LR|$TRELLIS_PARAM_AMP|$TRELLIS_PARAM_N|$1|$2|$3"
		echo "$TRELLIS_PARAM_TEXT"; ls; `+threeEpochs)
	h.config.Program.Command = append(h.config.Program.GetCommand(),
		"sh", "--lr={optimizer.lr}", "{{{seed}}}", "{text}")
	h.config.Parameters = map[string]*trellisv1.Value{
		"optimizer.lr": {Kind: &trellisv1.Value_Number{Number: 0.1}},
		"amp":          {Kind: &trellisv1.Value_Boolean{Boolean: true}},
		"n":            {Kind: &trellisv1.Value_Integer{Integer: -3}},
		"text":         {Kind: &trellisv1.Value_Text{Text: hostile}},
	}
	h.mustRun()
	first, rest, _ := strings.Cut(h.output(), "\n")
	var told description
	if err := json.Unmarshal([]byte(first), &told); err != nil {
		t.Fatal(err)
	}
	if told.Parameters["optimizer.lr"] != 0.1 || told.Parameters["text"] != hostile || told.LastEpoch != 3 ||
		told.Resume != nil || told.Objective != (objective{Metric: "loss", Direction: "minimize"}) {
		t.Errorf("run.json is %s", first)
	}
	if want := "0.1|true|-3|--lr=0.1|{1}|" + hostile + "\n" + hostile + "\n"; rest != want {
		t.Errorf("got  %q\nwant %q", rest, want)
	}
}
