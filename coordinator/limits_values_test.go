package coordinator

import (
	"os"
	"strings"
	"testing"
	"time"

	"trellis/coordinator/quota"
)

func TestLimitsHaveDefaultsAndAreSetByName(t *testing.T) {
	limits := Limits{}.withDefaults()
	for _, one := range limitTable {
		if got := *one.field(&limits); got != one.fallback || got <= 0 {
			t.Errorf("limit %s: %d by default, want %d", one.name, got, one.fallback)
		}
		value := "7"
		if one.unit == "time" {
			value = "7ns"
		}
		if err := limits.Set(one.name, value); err != nil || *one.field(&limits) != 7 {
			t.Errorf("limit %s set to 7: %d, %v", one.name, *one.field(&limits), err)
		}
	}
	for _, c := range []struct {
		name, value string
		want        int64
	}{{"upload-bytes", "3GiB", 3 << 30}, {"spec-bytes", "512KiB", 512 << 10}, {"request-time", "90s", int64(90 * time.Second)}} {
		err := limits.Set(c.name, c.value)
		if err != nil {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
		for _, one := range limitTable {
			if got := *one.field(&limits); one.name == c.name && got != c.want {
				t.Errorf("%s=%s is %d, want %d", c.name, c.value, got, c.want)
			}
		}
	}
}

func TestAWrongLimitIsRefusedWithWhatWouldBeRight(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"trails", "5", `did you mean "trials"?`},
		{"watches-of-everybody", "5", "must be one of studies, "},
		{"trials", "-5", "must be a number of trials above 0"},
		{"trials", "5GiB", "must be a number of trials above 0"},
		{"trials", "9999999999999999999", "must be a number of trials above 0"},
		{"spec-bytes", "9999999999GiB", "must be a number of bytes above 0"},
		{"request-time", "5", "must be a duration above 0"},
	} {
		if err := new(Limits).Set(c.name, c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want an error that says %q", c.name, c.value, err, c.want)
		}
	}
}

func TestLimitsThatContradictEachOtherAreRefused(t *testing.T) {
	for _, limits := range []Limits{{Trials: -1}, {SpecBytes: 1 << 24}, {StudyBytes: 1 << 30}, {UnreadBytes: 1}, {UploadBytesEach: 9}} {
		if err := limits.Validate(); err == nil {
			t.Errorf("limits %+v are accepted", limits)
		}
	}
	if small := (Limits{Uploads: 3}).withDefaults(); small.UploadsEach != 3 {
		t.Errorf("of 3 uploads in all, one principal may have %d", small.UploadsEach)
	}
}

// The documentation has every limit with its default.
func TestTheDocumentationHasTheLimits(t *testing.T) {
	text, err := os.ReadFile("../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		documented[name], documented[name+quota.EachSuffix] = strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])
	}
	for _, one := range limitTable {
		if got, err := one.parse(documented[one.name]); err != nil || got != one.fallback {
			t.Errorf("limit %s is %q in docs/cluster.md (%v), want %d", one.name, documented[one.name], err, one.fallback)
		}
	}
}
