package coordinator

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	trellisv1 "trellis/proto/trellis/v1"
)

// A backup that never ends is sent to a coordinator on a small disk, and held there. The reports of a worker, which
// need more files of the log, are recorded all the same.
func TestARestoreThatIsHeldOpenTakesNoRoomFromTheLog(t *testing.T) {
	for size, refused := range map[int]bool{6 << 20: false, 46 << 20: true} {
		t.Run(fmt.Sprintf("%d MiB", size>>20), func(t *testing.T) {
			epochs := 1_200_000
			if testing.Short() { // They do not fill the disk.
				epochs /= 10
				if refused {
					t.Skip("a backup that is refused for want of room takes long")
				}
			}
			holdRestore(t, size, epochs, refused)
		})
	}
}

func holdRestore(t *testing.T, size, epochs int, refused bool) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a small disk can't be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(data, syscall.MNT_DETACH) })
	target := newTarget(t, hostileConfig{Data: data})
	t.Cleanup(target.stop)
	attacker, worker := target.client("127.0.0.2"), target.client("127.0.0.3")

	stop := target.latency("127.0.0.9")
	sent, held := 0, make(chan error, 1)
	stream, err := attacker.cluster.Restore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	header := []byte(`{"index":5,"node":"n"}`)
	start := binary.LittleEndian.AppendUint32([]byte("trellis-backup\r\n"), 1)
	start = binary.LittleEndian.AppendUint32(start, uint32(len(header)))
	message := append(start, header...)
	for sent < size {
		if err := stream.Send(&trellisv1.RestoreRequest{Data: message}); err != nil {
			break
		}
		sent += len(message)
		message = binary.LittleEndian.AppendUint32(nil, 256<<10)
		for range 256 << 10 / 8 {
			message = binary.LittleEndian.AppendUint64(message, rand.Uint64())
		}
	}
	go func() { held <- stream.RecvMsg(new(trellisv1.RestoreResponse)) }()

	// A second one at the same time is refused.
	second, err := target.client("127.0.0.4").cluster.Restore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Send(&trellisv1.RestoreRequest{Data: start}); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !refused {
		err := second.RecvMsg(new(trellisv1.RestoreResponse))
		wantCode(t, err, codes.ResourceExhausted, "at most 1 restores at a time")
	}
	if recorded := trainMuch(t, worker, epochs); recorded < epochs {
		t.Errorf("%d epochs were recorded", recorded)
	}
	if refused {
		wantCode(t, <-held, codes.ResourceExhausted, "no room for the backup")
	}
	worst, calls := stop()
	t.Logf("%d MiB of a backup were sent; another client's slowest of %d calls took %v; peak memory %d MB", sent>>20,
		calls, worst, target.status("VmHWM")>>10)
}

// trainMuch reports so many epochs of one study, whose losses make the log grow, and returns how many were
// acknowledged.
func trainMuch(t *testing.T, client *clients, epochs int) (acknowledged int) {
	t.Helper()
	const perRun, perReport = 10_000, 500
	runs := uint32((epochs + perRun - 1) / perRun)
	spec := syntheticSpec("much", ramp(runs), []uint32{perRun})
	if _, err := client.studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	stream, err := client.workers.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan *trellisv1.SessionRequest, 1)
	requests <- &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: helloFrom("much", runs)}}
	go func() {
		beat := time.NewTicker(time.Second)
		defer beat.Stop()
		for {
			request := &trellisv1.SessionRequest{
				Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{}},
			}
			select {
			case request = <-requests:
			case <-beat.C:
			case <-stream.Context().Done():
				return
			}
			if stream.Send(request) != nil {
				return
			}
		}
	}()
	train := func(a *trellisv1.Assignment) {
		for first := uint32(1); first <= perRun; first += perReport {
			losses := make([]float64, perReport)
			for i := range losses {
				losses[i] = 1 + rand.Float64()
			}
			batch := &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reportsOf(a, first, losses...)}}
			select {
			case requests <- &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{Reports: batch}}:
			case <-stream.Context().Done():
				return
			}
		}
	}
	done := map[uint64]int{}
	for acknowledged < epochs {
		response, err := stream.Recv()
		if err != nil {
			t.Errorf("after %d epochs: %v", acknowledged, err)
			return acknowledged
		}
		if a := response.GetAssignment(); a != nil {
			go train(a)
		}
		if ack := response.GetAcknowledgement(); ack != nil {
			acknowledged += int(ack.GetEpoch()) - done[ack.GetAttempt()]
			done[ack.GetAttempt()] = int(ack.GetEpoch())
		}
	}
	return acknowledged
}
