package spec

import (
	"strings"
	"testing"
)

// The share of runs to audit is a number or a percentage.
func TestAudit(t *testing.T) {
	for text, want := range map[string]float64{
		"1%": 0.01, "7%": 0.07, "0.5 %": 0.005, "100%": 1, "0%": 0, "0.01": 0.01, `"2%"`: 0.02, "1": 1,
	} {
		got, err := Parse("spec.yaml", []byte("name: good\nmodel: synthetic\n"+
			"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 40}\naudit: "+text+"\n"))
		if err != nil || got.GetAudit() != want {
			t.Errorf("audit: %s is %v, want %v, error %v", text, got.GetAudit(), want, err)
		}
	}
	for text, want := range map[string]string{
		"101%": "audit must be between 0% and 100%", "-1%": "audit must be between 0% and 100%",
		"some": "expected a number", "one%": "expected a number", "[1%]": "expected",
	} {
		_, err := Parse("spec.yaml", []byte("name: good\nmodel: synthetic\n"+
			"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 40}\naudit: "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("audit: %s: error %v, want %q", text, err, want)
		}
	}
}
