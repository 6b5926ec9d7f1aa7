package search

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
)

// A complete report stays until another is complete, or is of other studies.
func TestACompleteReportStays(t *testing.T) {
	running, completed := trellisv1.PaperState_PAPER_STATE_RUNNING, trellisv1.PaperState_PAPER_STATE_COMPLETED
	finished := map[string]uint64{"a": 3, "b": 5}
	for _, test := range []struct {
		name     string
		finished map[string]uint64
		state    trellisv1.PaperState
		a, b     uint64
		want     bool
	}{
		{"there was none", nil, running, 0, 0, false},
		{"nothing has begun", finished, running, 0, 0, true},
		{"it stops before anything has begun", finished, trellisv1.PaperState_PAPER_STATE_STOPPED, 0, 0, true},
		{"the same studies", finished, running, 3, 5, true},
		{"a study was trained anew", finished, running, 3, 9, false},
		{"the same studies, complete", finished, completed, 3, 5, false},
	} {
		r := &reproductionReport{finished: test.finished, PaperReport: &trellisv1.PaperReport{
			State:  test.state,
			Stages: []*trellisv1.PaperStage{{Study: "a", CreateIndex: test.a}, {Study: "b", CreateIndex: test.b}},
		}}
		if got := r.keeps(); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
		if got := r.shown(); strings.Contains(got, "from before") != test.want {
			t.Errorf("%s: the page has %s", test.name, got)
		}
	}
}

// A study of the analysis must be trained on the data set whose test images are here; what the analysis does not look
// at may have its own.
func TestTheAnalysisNeedsTheStudysDataSet(t *testing.T) {
	r := &reproductionReport{digest: "here", material: reproduction.NewMaterial(&trellisv1.Reproduction{
		Analysis: &trellisv1.Analysis{Autoencoder: "plain", Denoising: "noisy", Classifier: "read", Variational: "drawn"},
	})}
	study := func(name, digest string) *trellisv1.Study {
		return &trellisv1.Study{Name: name, DataSet: &trellisv1.DataSet{Name: "mnist", Digest: digest}}
	}
	for _, name := range []string{"plain", "noisy", "read", "drawn"} {
		if err := r.checkData(study(name, "here")); err != nil {
			t.Error(err)
		}
		err := r.checkData(study(name, "there"))
		if err == nil || !strings.Contains(err.Error(), "study "+name+` is trained on a data set "mnist" with the digest there`) {
			t.Errorf("%s on another data set: %v", name, err)
		}
	}
	if err := r.checkData(study("another", "there")); err != nil {
		t.Error(err)
	}
	r.material = nil
	if err := r.checkData(study("plain", "there")); err != nil {
		t.Errorf("without an analysis: %v", err)
	}
}

// A report that goes on is sent again and again, as it was sent last, in less than the time that it promises. What was
// never sent is not, and nothing is sent once it has ended.
func TestAReportIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := &keptReports{}
		r := &reproductionReport{
			env: &cli.Environment{Err: io.Discard}, client: &client.Client{PaperServiceClient: reports},
			PaperReport: &trellisv1.PaperReport{Title: "first", Renewal: durationpb.New(renewal)},
		}
		stop := r.renew(t.Context())
		time.Sleep(renewal + time.Second) // Between two times at which reports are sent.
		reports.want(t, 0, "")
		r.put(t.Context())
		r.PaperReport.Title = "second"
		time.Sleep(renewal + time.Second)
		reports.want(t, 3, "first")
		reports.fail(status.Error(codes.Unavailable, "away"))
		r.put(t.Context())
		reports.fail(nil)
		time.Sleep(renewal)
		reports.want(t, 6, "second")
		stop()
		time.Sleep(5 * renewal)
		reports.want(t, 6, "second")
	})
}

// keptReports keeps what it is sent.
type keptReports struct {
	trellisv1.PaperServiceClient
	mutex sync.Mutex
	sent  []*trellisv1.PaperReport
	err   error
}

func (k *keptReports) PutPaperReport(
	_ context.Context, request *trellisv1.PutPaperReportRequest, _ ...grpc.CallOption,
) (*trellisv1.PutPaperReportResponse, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.sent = append(k.sent, proto.CloneOf(request.GetReport()))
	return &trellisv1.PutPaperReportResponse{}, k.err
}

// fail has it answer with an error from now on, or with none.
func (k *keptReports) fail(err error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.err = err
}

func (k *keptReports) want(t *testing.T, count int, title string) {
	t.Helper()
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.sent) != count || count > 0 && k.sent[count-1].GetTitle() != title {
		t.Errorf("%d reports were sent, want %d, and the last one %q: %v", len(k.sent), count, title, k.sent)
	}
}
