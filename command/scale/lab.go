package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// patience is how long a process may take to serve, and workers to connect.
const patience = 2 * time.Minute

// soon is after which time a coordinator is asked again whether it serves.
const soon = 20 * time.Millisecond

// lab has the processes of one measurement, and a folder for their data and logs.
type lab struct {
	binary, dir string
	temporary   bool
	profile     time.Duration
	out         io.Writer
	processes   []*process
	address     string
	conn        *grpc.ClientConn
	studies     trellisv1.StudyServiceClient
}

// process is a process of the lab. Its profiles are at an address, if it has one.
type process struct {
	*exec.Cmd
	name, profiles string
}

func newLab(binary, dir string, profile time.Duration, out io.Writer) (*lab, error) {
	l := &lab{dir: dir, temporary: dir == "", profile: profile, out: out}
	var err error
	if l.binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	if l.temporary {
		l.dir, err = os.MkdirTemp("", "trellis-scale-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	return l, err
}

// within returns a lab for one more measurement, with processes and data of its own. They go when it is closed.
func (l *lab) within() (*lab, error) {
	dir, err := os.MkdirTemp(l.dir, "one-")
	return &lab{binary: l.binary, dir: dir, temporary: true, profile: l.profile, out: l.out}, err
}

// close ends all processes and removes the data.
func (l *lab) close() error {
	var errs []error
	if l.conn != nil {
		errs = append(errs, l.conn.Close())
	}
	for _, p := range slices.Backward(l.processes) {
		_ = p.Process.Kill() // It may have ended.
		_ = p.Wait()
	}
	if l.temporary {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// start starts the binary, which logs into the folder.
func (l *lab) start(name string, args ...string) (*process, error) {
	p := &process{Cmd: exec.Command(l.binary, args...), name: name}
	if l.profile > 0 {
		p.profiles = freeAddress()
		p.Args = append(p.Args, "--metrics", p.profiles)
	}
	return p, l.launch(p)
}

// launch starts a process, which logs into the folder.
func (l *lab) launch(p *process) error {
	log, err := os.Create(filepath.Join(l.dir, p.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.Stdout, p.Stderr = log, log
	p.Env = append(p.Environ(), "XDG_CACHE_HOME="+l.dir, "XDG_DATA_HOME="+l.dir)
	if err := p.Start(); err != nil {
		return err
	}
	l.processes = append(l.processes, p)
	return nil
}

// startCoordinator starts a durable coordinator, and waits until it serves.
func (l *lab) startCoordinator(ctx context.Context, args ...string) (*process, error) {
	l.address = freeAddress()
	p, err := l.start("coordinator", l.coordinatorCommand(args...)...)
	if err != nil {
		return nil, err
	}
	// A coordinator that is started is waited for without long pauses.
	if l.conn, err = grpc.NewClient(l.address, grpc.WithNoProxy(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: soon, Multiplier: 1, MaxDelay: soon}, MinConnectTimeout: time.Second,
		})); err != nil {
		return nil, err
	}
	l.studies = trellisv1.NewStudyServiceClient(l.conn)
	return p, eventually(ctx, soon, func() error {
		_, err := l.studies.ListStudies(ctx, &trellisv1.ListStudiesRequest{})
		return err
	})
}

func (l *lab) coordinatorCommand(args ...string) []string {
	return append([]string{"coordinator", "--listen", l.address, "--data", filepath.Join(l.dir, "data")}, args...)
}

// restart kills all processes and starts the coordinator again. It returns how long that took until the coordinator
// said what a study's best trial is.
func (l *lab) restart(ctx context.Context, study string, args ...string) (time.Duration, error) {
	for _, p := range l.processes {
		_ = p.Process.Kill() // It may have ended.
		_ = p.Wait()
	}
	l.processes = nil
	start := time.Now()
	if _, err := l.start("coordinator-again", l.coordinatorCommand(args...)...); err != nil {
		return 0, err
	}
	trials := trellisv1.NewTrialServiceClient(l.conn)
	err := eventually(ctx, soon, func() error {
		_, err := trials.GetBestTrial(ctx, &trellisv1.GetBestTrialRequest{Study: study})
		return err
	})
	return time.Since(start), err
}

// kill ends a process at once, whatever it does.
func (l *lab) kill(p *process) error {
	l.processes = slices.DeleteFunc(l.processes, func(other *process) bool { return other == p })
	if err := p.Process.Kill(); err != nil {
		return err
	}
	_ = p.Wait() // It was killed.
	return nil
}

// unanswerable says whether an error means that there is nothing to answer yet: no trial has a result, or too few have.
func unanswerable(err error) bool { return status.Code(err) == codes.FailedPrecondition }

// awaitWorkers waits until so many workers are ready, and none has been lost.
func (l *lab) awaitWorkers(ctx context.Context, want int) error {
	workers := trellisv1.NewWorkerServiceClient(l.conn)
	// Reading thousands of workers is work for the coordinator.
	step := max(50*time.Millisecond, time.Duration(want)*20*time.Microsecond)
	return eventually(ctx, step, func() error {
		states := map[trellisv1.WorkerState]int{}
		request := &trellisv1.ListWorkersRequest{PageSize: 1000}
		for {
			response, err := workers.ListWorkers(ctx, request)
			if err != nil {
				return err
			}
			for _, worker := range response.GetWorkers() {
				states[worker.GetState()]++
			}
			if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		if states[trellisv1.WorkerState_WORKER_STATE_READY] != want || len(states) > 1 {
			return fmt.Errorf("workers are %v: want %d ready", states, want)
		}
		return nil
	})
}

// record writes profiles of the processes into the folder, if they are asked for.
func (l *lab) record(processes ...*process) {
	for _, p := range processes {
		if p.profiles == "" {
			continue
		}
		go func() {
			seconds := max(1, int(l.profile.Seconds()))
			for name, query := range map[string]string{
				"cpu": fmt.Sprint("profile?seconds=", seconds), "allocs": fmt.Sprint("allocs?seconds=", seconds),
			} {
				go func() {
					path := filepath.Join(l.dir, p.name+"."+name)
					if err := download("http://"+p.profiles+"/debug/pprof/"+query, path); err != nil {
						fmt.Fprintln(l.out, "profile:", err)
					}
				}()
			}
		}()
	}
}

func download(url, path string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// eventually repeats f after every step until it succeeds.
func eventually(ctx context.Context, step time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return fmt.Errorf("gave up: %w", err)
		}
	}
}

// freeAddress returns an address that nobody listens on, or an empty one, which nobody can listen on.
func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer listener.Close()
	return strings.TrimSpace(listener.Addr().String())
}
