package programs

import (
	"bytes"
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// outputs is a coordinator with one run, whose output breaks off and comes again from its beginning.
type outputs struct {
	trellisv1.UnimplementedTrialServiceServer
	// streams are what is sent one after the other, and ends how each ends.
	streams [][]*trellisv1.GetOutputResponse
	ends    []error
	calls   int
}

func (o *outputs) GetTrial(context.Context, *trellisv1.GetTrialRequest) (*trellisv1.GetTrialResponse, error) {
	return &trellisv1.GetTrialResponse{Trial: &trellisv1.Trial{Study: "s", Run: "r"}}, nil
}

func (o *outputs) ListTrials(
	context.Context, *trellisv1.ListTrialsRequest,
) (*trellisv1.ListTrialsResponse, error) {
	return &trellisv1.ListTrialsResponse{Trials: []*trellisv1.Trial{{Study: "s", Run: "r"}}}, nil
}

func (o *outputs) GetRun(context.Context, *trellisv1.GetRunRequest) (*trellisv1.GetRunResponse, error) {
	run := &trellisv1.Run{Id: "r", State: lifecycle.RunLeased, Attempt: 1}
	if o.calls >= len(o.streams)-1 {
		run.State = lifecycle.RunSucceeded
	}
	return &trellisv1.GetRunResponse{Run: run, Config: &trellisv1.RunConfig{Program: &trellisv1.Program{}}}, nil
}

func (o *outputs) GetOutput(_ *trellisv1.GetOutputRequest, stream trellisv1.TrialService_GetOutputServer) error {
	call := o.calls
	o.calls++
	for _, response := range o.streams[call] {
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return o.ends[call]
}

// What follows an output goes on where it broke off, however often, and with the next attempt.
func TestLogsGoOn(t *testing.T) {
	part := func(attempt, omitted uint64, data string) *trellisv1.GetOutputResponse {
		return &trellisv1.GetOutputResponse{Attempt: attempt, Omitted: omitted, Data: []byte(data)}
	}
	gone, none := status.Error(codes.Unavailable, "the worker is not there"), status.Error(codes.NotFound, "no output")
	o := &outputs{
		streams: [][]*trellisv1.GetOutputResponse{
			{part(1, 0, "on"), part(1, 0, "e\ntw")},
			{},
			{part(1, 0, "")},
			{part(1, 0, "one\n"), part(1, 0, "two\nthr")},
			{part(1, 0, "one\ntwo\nthree\n"), part(1, 5, "nine\n")},
			{part(1, 0, "one\ntwo\nthree\n"), part(1, 5, "nine\n")},
			{part(2, 0, ""), part(2, 0, "one\n")},
			{part(2, 0, "one\nend\n")},
		},
		ends: []error{gone, none, gone, status.Error(codes.Internal, "unexpected EOF"), nil, nil, gone, nil},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	trellisv1.RegisterTrialServiceServer(server, o)
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(listener)
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	c, err := client.New(listener.Addr().String(), client.Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out, notices bytes.Buffer
	env := &cli.Environment{Out: &out, Err: &notices}
	if err := showLogs(t.Context(), env, c, "s", 0, &logsOptions{follow: true}, true); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "one\ntwo\nthree\nnine\none\nend\n"; got != want {
		t.Errorf("shown: %q, want %q", got, want)
	}
	if got, want := notices.String(), "(5 B left out)\nAttempt 2:\n"; got != want {
		t.Errorf("notices: %q, want %q", got, want)
	}
}
