package coordinator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// artifactsOf returns a client of a node's artifacts, and how to close it.
func (c *cluster) artifactsOf(n *node) (client trellisv1.ArtifactServiceClient, done func()) {
	c.Helper()
	conn, err := grpc.NewClient("passthrough:"+n.address, grpc.WithContextDialer(dialThrough(c.client)),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.Fatal(err)
	}
	return trellisv1.NewArtifactServiceClient(conn), func() { _ = conn.Close() }
}

// An upload goes to the leader, and a download from any node finds what any other has.
func TestNodesFindEachOthersArtifacts(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		fromA, done := c.artifactsOf(a)
		defer done()
		fromLeader, done := c.artifactsOf(leader)
		defer done()
		content := artifacttest.Content(2*artifacttest.Chunk + 5)
		digest, err := artifacttest.Upload(c.ctx, fromA, content)
		if err != nil {
			c.Fatal(err)
		}
		if has, err := leader.artifacts.Store().(*artifact.Store).Has(c.ctx, digest); err != nil || !has {
			c.Errorf("the leader has what was sent to a follower: %v, %v", has, err)
		}
		for _, size := range []int{0, 10, artifacttest.Chunk, artifacttest.Chunk + 1} {
			content := artifacttest.Content(size)
			if _, _, err := b.artifacts.Put(c.ctx, bytes.NewReader(content)); err != nil {
				c.Fatal(err)
			}
			for name, client := range map[string]trellisv1.ArtifactServiceClient{
				"a follower": fromA,
				"the leader": fromLeader,
			} {
				if found, err := artifacttest.Download(c.ctx, client, artifacttest.DigestOf(content)); err != nil ||
					!bytes.Equal(found, content) {
					c.Errorf("%s finds %d bytes of the %d that another follower has: %v", name, len(found), size, err)
				}
			}
		}
		if found, err := artifacttest.Download(c.ctx, fromA, digest); err != nil || !bytes.Equal(found, content) {
			c.Errorf("a follower finds %d bytes of the leader's %d: %v", len(found), len(content), err)
		}
		// What is damaged where it is found is neither passed on as whole nor adopted.
		b.artifacts.Use(damagedArtifacts{b.artifacts.Store()}, self{b.Coordinator})
		_, err = artifacttest.Download(c.ctx, fromA, artifacttest.DigestOf(artifacttest.Content(10)))
		wantCode(c.T, err, codes.DataLoss, "corrupt on "+b.address)
		damaged := artifacttest.DigestOf(artifacttest.Content(artifacttest.Chunk + 1))
		_, err = artifacttest.Download(c.ctx, fromA, damaged)
		wantCode(c.T, err, codes.DataLoss, "corrupt on "+b.address)
		err = leader.artifacts.Admit(c.ctx, &trellisv1.Checkpoint{Sha256: damaged, Size: artifacttest.Chunk + 1})
		if !errors.Is(err, artifact.ErrCorrupt) {
			c.Errorf("admit what is damaged: %v", err)
		}
		missing := strings.Repeat("0", 64)
		_, err = artifacttest.Download(c.ctx, fromA, missing)
		wantCode(c.T, err, codes.NotFound, missing)
		// A node that can't be asked does not keep the others from being asked.
		c.network.Cut(a.address, b.address)
		_, err = artifacttest.Download(c.ctx, fromA, missing)
		wantCode(c.T, err, codes.NotFound, b.address)
		if found, err := artifacttest.Download(c.ctx, fromA, digest); err != nil || !bytes.Equal(found, content) {
			c.Errorf("a follower finds %d bytes of the leader's %d while the third is away: %v", len(found),
				len(content), err)
		}
	})
}

// damagedArtifacts is a store all of whose content is damaged after the first chunk, or at the end.
type damagedArtifacts struct{ artifact.Backing }

func (d damagedArtifacts) Get(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	content, size, err := d.Backing.Get(ctx, digest)
	if err != nil {
		return nil, 0, err
	}
	return struct {
		io.Reader
		io.Closer
	}{
		io.MultiReader(io.LimitReader(content, min(artifacttest.Chunk, size)), iotest.ErrReader(artifact.ErrCorrupt)),
		content,
	}, size, nil
}

// A worker's checkpoint is recorded if its artifact is there, on whichever node; and refused, and acknowledged, if not.
func TestCheckpointsReachTheLogOnlyWithTheirArtifacts(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, _ *node) {
		client, done := c.artifactsOf(leader)
		defer done()
		leader.create(syntheticSpec("study", []uint32{4}, []uint32{9}))
		w := leader.connect("w", 1)
		run := w.assignment()
		here, there := []byte("on the leader"), []byte("on a follower")
		if _, err := artifacttest.Upload(c.ctx, client, here); err != nil {
			c.Fatal(err)
		}
		if _, _, err := a.artifacts.Put(c.ctx, bytes.NewReader(there)); err != nil {
			c.Fatal(err)
		}
		recorded := func() (epochs []uint32) {
			row, err := leader.store.Snapshot().Run(nil, run.GetStudy(), run.GetRun())
			if err != nil {
				c.Fatal(err)
			}
			for _, checkpoint := range row.GetCheckpoints() {
				epochs = append(epochs, checkpoint.GetEpoch())
			}
			return epochs
		}
		epoch := uint32(0)
		for _, one := range []struct {
			content []byte
			size    int
			want    []uint32
		}{
			{here, len(here), []uint32{1}},
			{here, len(here) + 1, []uint32{1}},
			{[]byte("nowhere"), 7, []uint32{1}},
			{there, len(there), []uint32{4}},
		} {
			epoch++
			w.report(run, epoch)
			w.send(&trellisv1.SessionRequest{
				Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
					Study: run.GetStudy(), Run: run.GetRun(), Attempt: run.GetAttempt(),
					Checkpoint: &trellisv1.Checkpoint{
						Epoch: epoch, Sha256: artifacttest.DigestOf(one.content),
						Size: uint64(one.size),
					},
				}},
			})
			for acknowledged := uint32(0); acknowledged < epoch; {
				ack := w.next().GetAcknowledgement()
				if ack == nil {
					c.Fatal("expected an acknowledgement")
				}
				acknowledged = ack.GetCheckpoint()
			}
			if found := recorded(); !slices.Equal(found, one.want) {
				c.Errorf("after the checkpoint of %q at epoch %d those of epochs %v are recorded, want %v", one.content,
					epoch, found,
					one.want)
			}
		}
		// What is recorded is the leader's own now.
		content, err := leader.artifacts.GetHere(c.ctx, artifacttest.DigestOf(there))
		if err != nil {
			c.Fatal(err)
		}
		if err := errors.Join(content.Close()); err != nil {
			c.Error(err)
		}
	})
}

// A checkpoint whose artifact is on a node that is just being restarted is not refused for that: the leader waits for
// the node.
func TestACheckpointWaitsForTheNodeThatHasItsArtifact(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, _ *node) {
		content := []byte("on a follower")
		if _, _, err := a.artifacts.Put(c.ctx, bytes.NewReader(content)); err != nil {
			c.Fatal(err)
		}
		a.stop()
		admitted := make(chan error)
		go func() {
			admitted <- leader.artifacts.Admit(c.ctx, &trellisv1.Checkpoint{
				Sha256: artifacttest.DigestOf(content),
				Size:   uint64(len(content)),
			})
		}()
		<-time.After(2 * time.Second) // The clock is synctest's.
		c.start(a.address, Config{})
		if err := <-admitted; err != nil {
			c.Errorf("admit what is on a node that was away for 2 s: %v", err)
		}
		began := time.Now()
		c.nodes[a.address].stop()
		missing := &trellisv1.Checkpoint{Sha256: strings.Repeat("0", 64), Size: 1}
		if err := leader.artifacts.Admit(c.ctx, missing); !errors.Is(err, artifact.ErrNotFound) ||
			time.Since(began) > 2*artifact.AdoptTimeout {
			c.Errorf("admit what may be on a node that stays away: %v after %v", err, time.Since(began))
		}
	})
}

// hangingArtifacts is a store on something that does not answer, whatever the context says.
type hangingArtifacts struct {
	artifact.Backing
	hangs chan struct{}
}

func (h hangingArtifacts) List(context.Context) iter.Seq2[artifact.Artifact, error] {
	<-h.hangs
	return func(func(artifact.Artifact, error) bool) {}
}

// A store of artifacts that hangs keeps the collector, but not the node from leading again, nor from stopping.
func TestANodeLeadsAgainThoughItsArtifactsHang(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, _ *node) {
		hangs := make(chan struct{})
		defer close(hangs)
		a.artifacts.Use(hangingArtifacts{a.artifacts.Store(), hangs}, self{a.Coordinator})
		for _, to := range []*node{a, leader, a} {
			// The one that led before may not know yet that it no longer does.
			c.await("the leadership was transferred to "+to.address, func() bool {
				_, err := c.leader(leader, a).manager.TransferLeadership(c.ctx,
					&trellisv1.TransferLeadershipRequest{Node: to.address})
				if err != nil && status.Code(err) != codes.Unavailable {
					c.Fatal(err)
				}
				return err == nil
			})
			c.await(to.address+" leads", func() bool { return to.leader.Leads() })
		}
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > 10*time.Second {
			c.Errorf("stopping took %v", took)
		}
	})
}
