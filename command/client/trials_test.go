package client

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// moving is a study of trials whose objectives change after each page, which are listed as a coordinator does: after the
// last of the page before, in the order of now.
type moving struct {
	objectives []float64
	modified   uint64
	created    uint64
	// change is called after each page.
	change func(m *moving)
}

func (m *moving) list(request *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
	if m.created == 0 {
		return nil, status.Error(codes.NotFound, "study not found")
	}
	var after float64
	last := -1
	if token := request.GetPageToken(); token != "" {
		if _, err := fmt.Sscan(token, &after, &last); err != nil {
			return nil, err
		}
	}
	value := func(index int) float64 {
		if request.GetOrderBy() == "" {
			return 0
		}
		return m.objectives[index]
	}
	compare := func(a, b int) int { return cmp.Or(cmp.Compare(value(a), value(b)), cmp.Compare(a, b)) }
	var order []int
	for i := range m.objectives {
		if last < 0 || cmp.Or(cmp.Compare(value(i), after), cmp.Compare(i, last)) > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, compare)
	response := &trellisv1.ListTrialsResponse{
		Total: uint64(len(m.objectives)), CreateIndex: m.created, ModifyIndex: m.modified,
	}
	for _, index := range order[:min(len(order), int(request.GetPageSize()))] {
		response.Trials = append(response.Trials, &trellisv1.Trial{Index: uint64(index)})
		response.NextPageToken = fmt.Sprintf("%v %d", value(index), index)
	}
	if len(order) <= int(request.GetPageSize()) {
		response.NextPageToken = ""
	}
	m.change(m)
	return response, nil
}

// Each trial comes once, whatever moves between the pages. A study that is deleted or replaced meanwhile is none.
func TestEachTrialComesOnce(t *testing.T) {
	still := func(*moving) {}
	best := func(m *moving) {
		m.modified++
		m.objectives[7], m.objectives[0] = 0.5, 9.5 // One moves to pages that have come, one to pages that come.
	}
	for _, test := range []struct {
		name, order   string
		limit, create uint64
		change        func(*moving)
		want, err     string
		moved         bool
	}{
		{name: "still", order: "objective", change: still, want: "[0 1 2 3 4 5 6 7]"},
		{name: "changing", order: "objective", change: best, want: "[0 1 2 3 4 5 6 7]", moved: true},
		{name: "first", order: "objective", limit: 4, change: best, want: "[0 1 2 3]", moved: true},
		{name: "by index", change: best, want: "[0 1 2 3 4 5 6 7]"},
		{name: "replaced", change: func(m *moving) { m.created++ }, err: "was deleted and created again"},
		{name: "deleted", change: func(m *moving) { m.created = 0 }, err: "was deleted while its trials were read"},
		{name: "another", create: 6, change: still, err: "was deleted and created again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &moving{objectives: []float64{1, 2, 3, 4, 5, 6, 7, 8}, created: 5, modified: 5, change: test.change}
			c := connect(t, (&fake.Coordinator{OnTrials: m.list}).Serve(t))
			var got []uint64
			read, err := c.EachTrialPage(t.Context(), TrialListing{
				Request: &trellisv1.ListTrialsRequest{Study: "s", OrderBy: test.order, PageSize: 3}, Limit: test.limit,
				Created: test.create,
			}, func(page *trellisv1.ListTrialsResponse) error {
				for _, trial := range page.GetTrials() {
					got = append(got, trial.GetIndex())
				}
				return nil
			})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error is %v, want %s", err, test.err)
				}
				return
			}
			slices.Sort(got)
			if err != nil || fmt.Sprint(got) != test.want || read.Moved != test.moved || read.Total != 8 {
				t.Errorf("got %v and %+v, want %s; error %v", got, read, test.want, err)
			}
		})
	}
}

// A call that only reads is made again if its answer was cut off, as one is that was not answered. A watch goes on.
func TestCutOffAnswers(t *testing.T) {
	for _, test := range []struct {
		code  codes.Code
		text  string
		calls int
	}{{codes.Internal, "unexpected EOF", 3}, {codes.Internal, "a mistake", 1}} {
		calls := 0
		coordinator := &fake.Coordinator{OnTrials: func(*trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
			if calls++; calls < 3 {
				return nil, status.Error(test.code, test.text)
			}
			return &trellisv1.ListTrialsResponse{}, nil
		}}
		c := connect(t, coordinator.Serve(t))
		if _, err := c.ListTrials(t.Context(), &trellisv1.ListTrialsRequest{}); (err == nil) != (test.calls == 3) || calls != test.calls {
			t.Errorf("%s: %d calls, error %v", test.text, calls, err)
		}
		if err := status.Error(test.code, test.text); BreaksOff(err) != (test.calls == 3) {
			t.Errorf("%s: a watch goes on: %t", test.text, BreaksOff(err))
		}
	}
	if !repeatable["trellis.v1.StudyService/GetStudy"] || repeatable["trellis.v1.StudyService/CreateStudy"] ||
		repeatable["trellis.v1.StudyService"] || !repeatable["trellis.v1.TrialService"] {
		t.Errorf("repeatable: %v", repeatable)
	}
}
