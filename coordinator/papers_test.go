package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/paper"
)

const evilSVG = `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>`

func uploadPicture(t *testing.T, conn *grpc.ClientConn, content string) *trellisv1.PaperPicture {
	t.Helper()
	stream, err := trellisv1.NewArtifactServiceClient(conn).UploadArtifact(t.Context())
	if err == nil {
		err = stream.Send(&trellisv1.UploadArtifactRequest{Data: []byte(content)})
	}
	if err != nil {
		t.Fatal(err)
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return &trellisv1.PaperPicture{Sha256: response.GetSha256(), Size: response.GetSize()}
}

func paperWith(name string, picture *trellisv1.PaperPicture, stages ...*trellisv1.PaperStage) *trellisv1.PutPaperReportRequest {
	return &trellisv1.PutPaperReportRequest{Report: &trellisv1.PaperReport{
		Name: name, Title: "A paper", Summary: "S", State: trellisv1.PaperState_PAPER_STATE_RUNNING, Stages: stages,
		Sections: []*trellisv1.PaperSection{{
			Title: "Section", Figures: []*trellisv1.PaperFigure{{Number: 1, Picture: picture}},
		}},
		Environment: []*trellisv1.PaperFact{{Name: "a", Value: "b"}},
		Creator:     &trellisv1.Principal{Role: trellisv1.Role_ROLE_ADMIN, Name: "eve"},
	}}
}

// Submitters write and delete their own reports only, admins all, and viewers read them. A report has its studies as they are now,
// and goes on without them.
func TestPaperReports(t *testing.T) {
	t.Parallel()
	own, listener := newAuthority(t), listenHTTP(t)
	s := startSecured(t, own, Config{Data: t.TempDir(), HTTP: listener})
	admin := s.admin()
	_, samToken := s.newToken(admin, trellisv1.Role_ROLE_SUBMITTER, "sam", time.Hour)
	sue := s.caller(own.issue(trellisv1.Role_ROLE_SUBMITTER, "sue"), "")
	samConn := s.caller(access.Files{}, samToken)
	papers, studies := trellisv1.NewPaperServiceClient(samConn), trellisv1.NewStudyServiceClient(samConn)
	created, err := studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{
		Spec: syntheticSpec("here", []uint32{4}, []uint32{2}),
	})
	if err != nil {
		t.Fatal(err)
	}
	svg, png := uploadPicture(t, samConn, evilSVG), uploadPicture(t, samConn, "\x89PNG\r\n\x1a\nand more")
	index := created.GetStudy().GetCreateIndex()
	request := paperWith("p", svg, &trellisv1.PaperStage{Study: "here", CreateIndex: index}, &trellisv1.PaperStage{Study: "later"},
		&trellisv1.PaperStage{Study: "gone", CreateIndex: 1, State: "completed"})
	put := func(conn *grpc.ClientConn, request *trellisv1.PutPaperReportRequest) error {
		_, err := trellisv1.NewPaperServiceClient(conn).PutPaperReport(t.Context(), request)
		return err
	}
	if err := put(samConn, request); err != nil {
		t.Fatal(err)
	}
	wantCode(t, put(sue, request), codes.PermissionDenied, `report "p" was created by submitter "sam"`)
	if err := put(admin, request); err != nil {
		t.Error(err)
	}
	viewer := trellisv1.NewPaperServiceClient(s.caller(own.issue(trellisv1.Role_ROLE_VIEWER, "vic"), ""))
	get := func() *trellisv1.GetPaperReportResponse {
		t.Helper()
		got, err := viewer.GetPaperReport(t.Context(), &trellisv1.GetPaperReportRequest{Report: "p"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := get()
	if its := got.GetReport(); access.FromMessage(its.GetCreator()).Name != "sam" || its.GetCreateTime() == nil ||
		!its.GetUpdateTime().AsTime().After(its.GetCreateTime().AsTime()) {
		t.Errorf("got %v", its)
	}
	if len(got.GetStudies()) != 1 || got.GetStudies()[0].GetName() != "here" ||
		got.GetStudies()[0].GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
		t.Errorf("its studies are %v", got.GetStudies())
	}
	listed, err := viewer.ListPaperReports(t.Context(), &trellisv1.ListPaperReportsRequest{})
	if err != nil || len(listed.GetReports()) != 1 {
		t.Fatalf("listed %v, %v", listed, err)
	}
	if its := listed.GetReports()[0]; its.GetTitle() == "" || its.Summary != "" || its.Sections != nil || its.Environment != nil ||
		len(its.GetStages()) != 3 || its.GetStages()[2].GetState() != "completed" {
		t.Errorf("listed %v", its)
	}
	// Another study of the name is not meant.
	if _, err := studies.DeleteStudy(t.Context(), &trellisv1.DeleteStudyRequest{Study: "here"}); err != nil {
		t.Fatal(err)
	}
	if got := get().GetStudies(); len(got) != 0 {
		t.Errorf("after it was deleted: %v", got)
	}
	if _, err := studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{
		Spec: syntheticSpec("here", []uint32{4}, []uint32{2}),
	}); err != nil {
		t.Fatal(err)
	}
	if got := get().GetStudies(); len(got) != 0 {
		t.Errorf("after another was created: %v", got)
	}

	missing := sha256.Sum256([]byte("missing"))
	for text, one := range map[string]struct {
		request *trellisv1.PutPaperReportRequest
		code    codes.Code
	}{
		"figure 1: the coordinator does not have the picture": {
			paperWith("q", &trellisv1.PaperPicture{Sha256: hex.EncodeToString(missing[:]), Size: 7}), codes.FailedPrecondition,
		},
		"bytes, not 3": {paperWith("q", &trellisv1.PaperPicture{Sha256: svg.Sha256, Size: 3}), codes.InvalidArgument},
		"invalid name": {paperWith("no name", nil), codes.InvalidArgument},
	} {
		wantCode(t, put(samConn, one.request), one.code, text)
	}

	both := paperWith("p", svg)
	both.Report.Sections[0].Figures = append(both.Report.Sections[0].Figures, &trellisv1.PaperFigure{Number: 2, Picture: png})
	if err := put(samConn, both); err != nil {
		t.Fatal(err)
	}
	testPicturesOverHTTP(t, s.httpClient(own.issue(trellisv1.Role_ROLE_VIEWER, "vic"), ""),
		"https://"+listener.Addr().String()+"/api/v1/reports/p/pictures/", svg, png, uploadPicture(t, samConn, "<svg/>"))

	remove := &trellisv1.DeletePaperReportRequest{Report: "p"}
	_, err = trellisv1.NewPaperServiceClient(sue).DeletePaperReport(t.Context(), remove)
	wantCode(t, err, codes.PermissionDenied, `report "p" was created by submitter "sam"`)
	if _, err := papers.DeletePaperReport(t.Context(), remove); err != nil {
		t.Error(err)
	}
	_, err = viewer.GetPaperReport(t.Context(), &trellisv1.GetPaperReportRequest{Report: "p"})
	wantCode(t, err, codes.NotFound, `report "p" not found`)
	events, err := trellisv1.NewAccessServiceClient(admin).ListEvents(t.Context(), &trellisv1.ListEventsRequest{PageSize: 1})
	if err != nil || events.GetEvents()[0].GetMethod() != "DeletePaperReport" || events.GetEvents()[0].GetSubject() != "p" {
		t.Errorf("the last event is %v, %v", events.GetEvents(), err)
	}
}

// testPicturesOverHTTP: a picture is an image that can do nothing, and no other artifact is a picture.
func testPicturesOverHTTP(t *testing.T, client *http.Client, base string, svg, png, other *trellisv1.PaperPicture) {
	t.Helper()
	for kind, picture := range map[string]*trellisv1.PaperPicture{"image/svg+xml": svg, "image/png": png} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+picture.Sha256, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		policy := response.Header.Get("Content-Security-Policy")
		if err != nil || response.StatusCode != http.StatusOK || uint64(len(content)) != picture.Size ||
			response.Header.Get("Content-Type") != kind || response.Header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(policy, "default-src 'none';") || !strings.HasSuffix(policy, " sandbox") ||
			strings.Contains(policy, "script") {
			t.Errorf("%s: %d, %d bytes, %v: %v", kind, response.StatusCode, len(content), err, response.Header)
		}
	}
	if got, text := send(t, client, http.MethodGet, base+other.Sha256, ""); got != http.StatusNotFound {
		t.Errorf("another artifact: %d %s", got, text)
	}
}

// The state machine itself keeps submitters from reports of others: one may be written between the question and the command.
func TestPapersOfOthers(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		machine := stateMachine{store: h.store, applied: newAppliedIndex()}
		index := uint64(100)
		apply := func(who string, command *trellisv1.Command) error {
			index++
			if who != "" {
				command.Principal = &trellisv1.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: who}
			}
			data, err := proto.Marshal(command)
			if err != nil {
				h.Fatal(err)
			}
			err, _ = machine.Apply(index, data).(error)
			return err
		}
		write := func() *trellisv1.Command {
			return &trellisv1.Command{Change: &trellisv1.Command_PutPaperReport{
				PutPaperReport: &trellisv1.PutPaperReportCommand{Report: paperWith("p", nil).GetReport()},
			}}
		}
		remove := func() *trellisv1.Command {
			return &trellisv1.Command{Change: &trellisv1.Command_DeletePaperReport{
				DeletePaperReport: &trellisv1.DeletePaperReportCommand{Name: "p"},
			}}
		}
		for i, step := range []struct {
			who     string
			command *trellisv1.Command
			refused bool
		}{
			{"sam", write(), false},
			{"sue", write(), true},
			{"sue", remove(), true},
			{"sam", write(), false},
			{"", write(), false},
			{"sam", remove(), false},
			{"sue", write(), false},
			{"sam", remove(), true},
		} {
			if err := apply(step.who, step.command); (err != nil) != step.refused {
				h.Errorf("step %d: %v", i, err)
			}
		}
	})
}

// A report that is running and is not written anew as often as promised is lost, until it is written again. One that is
// written as it is leaves no event.
func TestLostPapers(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		papers, access := trellisv1.NewPaperServiceClient(h.conn), trellisv1.NewAccessServiceClient(h.conn)
		put := func(name string, state trellisv1.PaperState, renewal time.Duration) {
			h.Helper()
			request := paperWith(name, nil)
			request.Report.State = state
			if renewal > 0 {
				request.Report.Renewal = durationpb.New(renewal)
			}
			if _, err := papers.PutPaperReport(h.Context(), request); err != nil {
				h.Fatal(err)
			}
		}
		want := func(wanted ...string) {
			h.Helper()
			listed, err := papers.ListPaperReports(h.Context(), &trellisv1.ListPaperReportsRequest{})
			if err != nil {
				h.Fatal(err)
			}
			if got := len(listed.GetReports()); got != len(wanted) {
				h.Fatalf("%d reports are listed, want %d", got, len(wanted))
			}
			for i, report := range listed.GetReports() {
				one, err := papers.GetPaperReport(h.Context(), &trellisv1.GetPaperReportRequest{Report: report.GetName()})
				state := "PAPER_STATE_" + wanted[i]
				if err != nil || report.GetState().String() != state || one.GetReport().GetState().String() != state {
					h.Errorf("report %s is %v, %v, %v, want %s", report.GetName(), report.GetState(), one.GetReport(), err, state)
				}
			}
		}
		running := trellisv1.PaperState_PAPER_STATE_RUNNING
		put("a", running, time.Minute)
		put("b", running, 0)
		put("c", trellisv1.PaperState_PAPER_STATE_STOPPED, time.Minute)
		put("d", running, time.Hour)
		time.Sleep(119 * time.Second)
		want("RUNNING", "RUNNING", "STOPPED", "RUNNING")
		put("a", running, time.Minute)
		time.Sleep(119 * time.Second)
		want("RUNNING", "RUNNING", "STOPPED", "RUNNING")
		time.Sleep(2 * time.Second)
		want("LOST", "RUNNING", "STOPPED", "RUNNING")
		put("a", running, time.Minute)
		want("RUNNING", "RUNNING", "STOPPED", "RUNNING")

		put("a", running, 2*time.Minute)
		put("b", running, 0)
		events, err := access.ListEvents(h.Context(), &trellisv1.ListEventsRequest{})
		if err != nil {
			h.Fatal(err)
		}
		var subjects string
		for _, event := range events.GetEvents() {
			subjects += event.GetSubject()
		}
		if subjects != "badcba" {
			h.Errorf("there are events of %s, want badcba: each report when it was new, one that was changed, and "+
				"one that does not promise to be written again", subjects)
		}
	})
}

// When a coordinator has been away, those who write reports get the time to do so.
func TestPapersAfterARestart(t *testing.T) {
	report := &trellisv1.PaperReport{
		State: trellisv1.PaperState_PAPER_STATE_RUNNING, Renewal: durationpb.New(time.Minute), UpdateTime: timestamppb.New(time.Unix(0, 0)),
	}
	started := time.Unix(1000, 0)
	if paper.Lost(report, started, started.Add(2*time.Minute)) || !paper.Lost(report, started, started.Add(2*time.Minute+1)) {
		t.Error("it must be lost after twice the time that it promised")
	}
}
