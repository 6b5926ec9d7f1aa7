package program

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseLine(t *testing.T) {
	many := make([]string, MaxMetrics+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d":1`, i)
	}
	for _, test := range []struct{ text, want, says string }{
		{`{"epoch":1}`, `1 map[] ""`, ""},
		{"\t{ \"epoch\" : 1 , \"a\" : -1.5e-3 }\r", `1 map[a:-0.0015] ""`, ""},
		{`{"val/acc":1,"epoch":2,"checkpoint":"a\"b"}`, `2 map[val/acc:1] "a\"b"`, ""},
		{`{"epoch":1,"a":NaN,"b":-Infinity,"c":"inf","d":null,"checkpoint":null}`, `1 map[a:NaN b:-Inf c:+Inf] ""`, ""},
		{`{"epoch":1,"\u0061":1}`, `1 map[a:1] ""`, ""},
		{`{}`, "", `no "epoch"`},
		{`{"epoch":null}`, "", "epoch null is not a whole number"},
		{`{"epoch":"1"}`, "", "not a whole number"},
		{`{"epoch":-1}`, "", "not a whole number"},
		{`{"epoch":1e10}`, "", "not a whole number"},
		{`{"epoch":1,"a":true}`, "", "a is true, which is not a number"},
		{`{"epoch":1,"a":1e999}`, "", "a is 1e999, which is not a number"},
		{`{"epoch":1,"a":0x10}`, "", "not a number"},
		{`{"epoch":1,"a":{"b":1}}`, "", `"a" is not a number`},
		{`{"epoch":1,"a":1,"a":2}`, "", `"a" occurs twice`},
		{`{"epoch":1,"checkpoint":7}`, "", "not the name of a folder"},
		{`{"epoch":1,"checkpoint":""}`, "", "not the name of a folder"},
		{`{"epoch":1,"top@5":1}`, "", `"top@5" must have at most 63 letters`},
		{`{"epoch":1,"1st":1}`, "", `"1st" must have at most 63 letters`},
		{`{"epoch":1,"":1}`, "", "must have at most 63 letters"},
		{`{"epoch":1,` + strings.Join(many, ",") + `}`, "", "101 metrics; at most 100"},
		{`{"epoch":1,}`, "", "not a JSON object"},
		{`{"epoch":1 "a":2}`, "", "not a JSON object"},
		{`{"epoch":1`, "", "not a JSON object"},
		{`{'epoch':1}`, "", "not a JSON object"},
		{`[1]`, "", "not a JSON object"},
		{`3`, "", "not a JSON object"},
	} {
		l, err := parseLine([]byte(test.text))
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got error %v, want %q", test.text, err, test.says)
		}
		if got := fmt.Sprintf("%d %v %q", l.epoch, l.metrics, l.checkpoint); err == nil && got != test.want {
			t.Errorf("%s: got %s, want %s", test.text, got, test.want)
		}
	}
}

// What encoding/json understands as a report, this understands as the same.
func FuzzParseLine(f *testing.F) {
	f.Add(`{"epoch":1,"a":2.5,"checkpoint":"c"}`)
	f.Add(`{"epoch":1,"a":NaN}`)
	f.Add(`{"epoch" : 1 , "a\n": "x" }`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLine([]byte(text))
		var object map[string]any
		if json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		want := map[string]float64{}
		for name, value := range object {
			if number, ok := value.(float64); ok && name != "epoch" {
				want[name] = number
			}
		}
		if err != nil {
			return
		}
		for name, value := range l.metrics {
			if math.IsNaN(value) || math.IsInf(value, 0) {
				delete(l.metrics, name) // In quotes.
			}
		}
		if object["epoch"] != float64(l.epoch) || !maps.Equal(l.metrics, want) {
			t.Errorf("%q: got %+v, want %v", text, l, object)
		}
	})
}

func TestLastLines(t *testing.T) {
	for _, test := range []struct {
		writes []string
		want   []string
	}{
		{nil, nil},
		{[]string{"a\nb", "c\n"}, []string{"a", "bc"}},
		{[]string{"10%\r50%\r100%\ndone\r\n"}, []string{"100%", "done"}},
		{[]string{"a\xffb"}, []string{"a\uFFFDb"}},
		{[]string{strings.Repeat("x", 5000) + "\n", "end\n"}, []string{"end"}},
		{[]string{strings.Repeat("x", 5000)}, []string{strings.Repeat("x", lastBytes)}},
	} {
		var kept tail
		for _, write := range test.writes {
			kept.write([]byte(write))
		}
		if got := kept.lines(); !slices.Equal(got, test.want) {
			t.Errorf("got %.100q, want %.100q", got, test.want)
		}
	}
}

// A line that never ends is matched by its beginning, and takes no more memory than that.
func TestSplitter(t *testing.T) {
	var got []string
	s := &splitter{take: func(text []byte, number int) {
		got = append(got, fmt.Sprintf("%d:%.10s/%d", number, text, len(text)))
	}}
	for _, piece := range []string{"a", "b\nc\rd\r\n\n", "e"} {
		s.write([]byte(piece))
	}
	for range 100 {
		s.write([]byte(strings.Repeat("x", 10_000)))
	}
	if cap(s.buffer) > 4*maxMatched {
		t.Errorf("it keeps %d bytes", cap(s.buffer))
	}
	s.flush()
	if want := []string{"1:ab/2", "2:c/1", "2:d/1", "4:exxxxxxxxx/65536"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
