package coordinator

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"trellis/coordinator/replication/memnet"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

const (
	// clientTimeout is how long a call of a client may take.
	clientTimeout = 4 * time.Second
	// keptStudies are never canceled or deleted, so that they must be completed in the end; passingStudies are.
	keptStudies, passingStudies = 3, 4
)

// simulatedClient asks one thing after the other, each of some node.
type simulatedClient struct {
	s        *simulation
	number   int
	random   *rand.Rand
	endpoint *memnet.Endpoint
	conns    []*grpc.ClientConn
	// seen has the last state of each study that each node has answered.
	seen map[seenAt]seenStudy
}

// seenAt is a study on a node's disk.
type seenAt struct {
	node  int
	wiped int64
	study string
}

// seenStudy is how new a study was: absent says that there was none after it.
type seenStudy struct {
	created, modified uint64
	absent            bool
}

func newSimulatedClient(s *simulation, number int) *simulatedClient {
	c := &simulatedClient{s: s, number: number, random: s.random("client", number), seen: map[seenAt]seenStudy{}}
	var err error
	if c.endpoint, err = s.network.Listen(fmt.Sprintf("client%d:1", number)); err != nil {
		s.wrong("%v", err)
	}
	for _, n := range s.nodes {
		conn, err := grpc.NewClient("passthrough:"+n.address, grpc.WithContextDialer(dialThrough(c.endpoint)),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}))
		if err != nil {
			s.wrong("%v", err)
		}
		c.conns = append(c.conns, conn)
	}
	return c
}

func (c *simulatedClient) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.endpoint.Close()
}

// run asks until the simulation has heard enough.
func (c *simulatedClient) run() {
	defer c.close()
	for sleepUntil(c.s.asking, time.Duration(c.random.ExpFloat64()*float64(300*time.Millisecond))) {
		node := c.random.IntN(len(c.conns))
		study := fmt.Sprintf("passing-%d", c.random.IntN(passingStudies))
		if c.random.IntN(2) == 0 {
			study = fmt.Sprintf("kept-%d", c.random.IntN(keptStudies))
		}
		switch draw := c.random.IntN(100); {
		case draw < 5:
			c.create(node, study)
		case draw < 15:
			c.change(node, callPause, study)
		case draw < 40:
			c.change(node, callResume, study)
		case draw < 42 && strings.HasPrefix(study, "passing"):
			c.change(node, callCancel, study)
		case draw < 46 && strings.HasPrefix(study, "passing"):
			c.change(node, callDelete, study)
		case draw < 85:
			c.get(node, study)
		default:
			c.readTrials(node, study)
		}
	}
}

// spec is a grid of the study, drawn by chance.
func (c *simulatedClient) spec(study string) *trellisv1.StudySpec {
	latent := []uint32{2, 4, 8, 16, 32, 64}
	rates := []float64{1e-4, 1e-3, 1e-2, 0.5}
	c.random.Shuffle(len(latent), func(i, j int) { latent[i], latent[j] = latent[j], latent[i] })
	c.random.Shuffle(len(rates), func(i, j int) { rates[i], rates[j] = rates[j], rates[i] })
	runs := 1 + c.random.IntN(3)
	if strings.HasPrefix(study, "kept") {
		runs = len(latent)
	}
	return &trellisv1.StudySpec{
		Name: study, Model: "synthetic",
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[uint32](latent[:runs]...),
			"learning_rate": trellisv1.AxisOf[float64](rates[:1+c.random.IntN(len(rates))]...),
			"max_epochs":    trellisv1.AxisOf(3, 8, 10+c.random.IntN(40)),
		}}},
		Seeds: trellisv1.AxisOf[uint32]([]uint32{1, 2}[:1+c.random.IntN(2)]...),
	}
}

// create creates a study. A coordinator creates one study at a time, under a lock, which synctest's clock would not
// wait for: so no client asks for another one while that of a client that was not answered may still be waiting.
func (c *simulatedClient) create(node int, study string) error {
	select {
	case c.s.creating <- struct{}{}:
	case <-c.s.ctx.Done():
		return c.s.ctx.Err()
	}
	defer func() { <-c.s.creating }()
	spec, fresh := c.spec(study), c.random.IntN(8) == 0
	began := time.Now()
	err := c.ask(node, callCreate, study, func(ctx context.Context, conn *grpc.ClientConn) (*trellisv1.Study, error) {
		response, err := trellisv1.NewStudyServiceClient(conn).CreateStudy(ctx,
			&trellisv1.CreateStudyRequest{Spec: spec, Fresh: fresh})
		return response.GetStudy(), err
	})
	if err != nil {
		c.s.sleep(time.Until(began.Add(clientTimeout + 10*time.Millisecond)))
	}
	return err
}

// change pauses, resumes, cancels or deletes a study.
func (c *simulatedClient) change(node int, call studyCall, study string) error {
	return c.ask(node, call, study, func(ctx context.Context, conn *grpc.ClientConn) (*trellisv1.Study, error) {
		client := trellisv1.NewStudyServiceClient(conn)
		switch call {
		case callPause:
			response, err := client.PauseStudy(ctx, &trellisv1.PauseStudyRequest{Study: study})
			return response.GetStudy(), err
		case callResume:
			response, err := client.ResumeStudy(ctx, &trellisv1.ResumeStudyRequest{Study: study})
			return response.GetStudy(), err
		case callCancel:
			response, err := client.CancelStudy(ctx, &trellisv1.CancelStudyRequest{Study: study})
			return response.GetStudy(), err
		default:
			_, err := client.DeleteStudy(ctx, &trellisv1.DeleteStudyRequest{Study: study})
			return nil, err
		}
	})
}

// get reads a study.
func (c *simulatedClient) get(node int, study string) {
	at := c.position(node, study)
	var answered *trellisv1.Study
	err := c.ask(node, callGet, study, func(ctx context.Context, conn *grpc.ClientConn) (*trellisv1.Study, error) {
		response, err := trellisv1.NewStudyServiceClient(conn).GetStudy(ctx, &trellisv1.GetStudyRequest{Study: study})
		answered = response.GetStudy()
		return answered, err
	})
	if code := status.Code(err); code == codes.OK || code == codes.NotFound {
		c.s.reads.Add(1)
		c.neverEarlier(at, answered)
	}
}

// position is a study on the disk that a node has now.
func (c *simulatedClient) position(node int, study string) seenAt {
	return seenAt{node, c.s.nodes[node].wiped.Load(), study}
}

// neverEarlier checks that a node's answer, nil for no study, is none that it was past already.
func (c *simulatedClient) neverEarlier(at seenAt, study *trellisv1.Study) {
	if at != c.position(at.node, at.study) {
		return // It has been wiped meanwhile.
	}
	before := c.seen[at]
	if study == nil {
		before.absent = true
		c.seen[at] = before
		return
	}
	if study.GetModifyIndex() < before.modified || before.absent && study.GetCreateIndex() <= before.created {
		c.s.wrong("%s answered study %s as of index %d, created at %d, after it had answered it as of %d, created at "+
			"%d, absent since: %v",
			c.s.nodes[at.node].address, at.study, study.GetModifyIndex(), study.GetCreateIndex(), before.modified,
			before.created, before.absent)
	}
	c.seen[at] = seenStudy{created: study.GetCreateIndex(), modified: study.GetModifyIndex()}
}

// ask makes a call and notes how it ended. What only a follower, or a node that may have ceased to lead, has answered
// from its own store says nothing about order.
func (c *simulatedClient) ask(
	node int, call studyCall, study string, do func(context.Context, *grpc.ClientConn) (*trellisv1.Study, error),
) error {
	ctx, cancel := context.WithTimeout(c.s.ctx, clientTimeout)
	defer cancel()
	leads, writing := c.term(node), c.s.nodes[node].mayBeReplaced()
	from, began := c.s.history.now(), time.Since(c.s.began)
	answer, err := do(ctx, c.conns[node])
	output := studyOutput{code: status.Code(err), state: answer.GetState()}
	switch output.code {
	case codes.OK, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition:
		// A study that was created is read afterwards: it may be deleted by then.
		output.unknown = call == callCreate && output.code == codes.NotFound
	case codes.ResourceExhausted:
		return err // It has not happened.
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.Canceled:
		output.unknown = true
	default:
		c.s.wrong("%s answered %v of study %s with %v", c.s.nodes[node].address, call, study, err)
		output.unknown = true
	}
	if answer != nil {
		c.s.journal.existed(c.s.nodes[node].address, answer)
	}
	if call == callGet {
		if output.unknown || leads == nil || c.term(node) != leads || writing || c.s.nodes[node].mayBeReplaced() {
			return err
		}
		c.s.leaderReads.Add(1)
	}
	c.s.history.add(c.number, from, studyInput{call, study}, output,
		studyWhen{from: began, to: time.Since(c.s.began), node: c.s.nodes[node].address})
	return err
}

// term is the time for which a node leads, nil if it does not.
func (c *simulatedClient) term(node int) context.Context {
	if life := c.s.nodes[node].life.Load(); life != nil {
		return life.coordinator.leader.Term()
	}
	return nil
}

// readTrials checks what there is of a study's results.
func (c *simulatedClient) readTrials(node int, study string) {
	ctx, cancel := context.WithTimeout(c.s.ctx, clientTimeout)
	defer cancel()
	client := trellisv1.NewTrialServiceClient(c.conns[node])
	listed, err := client.ListTrials(ctx, &trellisv1.ListTrialsRequest{Study: study, Losses: true})
	if err == nil {
		for _, trial := range listed.GetTrials() {
			c.s.checkTrial(c.s.nodes[node].address, trial)
		}
	}
	best, err := client.GetBestTrial(ctx, &trellisv1.GetBestTrialRequest{Study: study})
	if err == nil {
		c.s.checkTrial(c.s.nodes[node].address, best.GetTrial())
		c.s.journal.existed(c.s.nodes[node].address, best.GetStudy())
	}
}

// checkTrial compares a trial with what its losses must be as far as it has come.
func (s *simulation) checkTrial(from string, trial *trellisv1.Trial) {
	s.trials.Add(1)
	parameters, epochs := trial.GetParameters(), trial.GetEpochs()
	end := lastEpoch(parameters)
	var train, validation []float64
	best, bestEpoch := math.NaN(), uint32(0)
	for epoch := uint32(1); epoch <= epochs; epoch++ {
		trainLoss, loss := simulatedLosses(parameters, epoch)
		train, validation = append(train, trainLoss), append(validation, loss)
		if !math.IsNaN(loss) && !(best <= loss) {
			best, bestEpoch = loss, epoch
		}
	}
	same := epochs <= end && trial.GetBestEpoch() == bestEpoch && sameLoss(trial.GetObjective(), best) || epochs == 0
	diverged := trial.GetState() == trellisv1.TrialState_TRIAL_STATE_DIVERGED
	if diverged || trial.GetState() == trellisv1.TrialState_TRIAL_STATE_SUCCEEDED {
		same = same && diverged == math.IsNaN(best)
		// What is taken over from another study may have no test loss.
		same = same && epochs == end && (trial.TestLoss == nil || sameLoss(trial.GetTestLoss(), testLossOf(best)))
		if trial.TestLoss == nil {
			s.untested.Add(1)
		}
	}
	if len(trial.GetTrainLoss()) > 0 {
		same = same && slices.EqualFunc(trial.GetTrainLoss(), train, sameLoss) &&
			slices.EqualFunc(trial.GetValidationLoss(), validation, sameLoss)
	}
	if !same {
		s.wrong("%s answered %v, which by the closed form should end after %d epochs and by now have the best loss "+
			"%v of epoch %d", from, trial,
			end, best, bestEpoch)
	}
}

func sameLoss(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

// simulatedLosses is the closed form of what the simulation's workers report: a curve that falls and wavers, and at
// great learning rates is no number from some epoch on.
func simulatedLosses(p *trellisv1.Parameters, epoch uint32) (train, validation float64) {
	if p.Numeric("learning_rate") >= 0.1 && epoch >= divergence {
		return math.NaN(), math.NaN()
	}
	draw := rand.New(rand.NewPCG(uint64(p.GetSeed())<<32|uint64(p.Numeric("latent_dim")), uint64(epoch)))
	curve := 0.01 + 1/float64(p.Numeric("latent_dim")+1) + 1/(1+1000*p.Numeric("learning_rate")*float64(epoch))
	return curve * (0.9 + 0.1*draw.Float64()), curve * (0.95 + 0.1*draw.Float64())
}

// divergence is the epoch in which runs with a great learning rate end.
const divergence = 6

// lastEpoch is where a trial, or a run, ends.
func lastEpoch(p *trellisv1.Parameters) uint32 {
	if p.Numeric("learning_rate") >= 0.1 {
		return min(p.GetMaxEpochs(), divergence)
	}
	return p.GetMaxEpochs()
}

func testLossOf(best float64) float64 { return 0.98 * best }

// finish does what it takes for all studies to end, and says whether they have.
func (c *simulatedClient) finish(ctx context.Context) bool {
	leader := c.s.leader()
	if leader == nil {
		return false
	}
	response, err := leader.coordinator.store.Snapshot().ListStudies(&trellisv1.ListStudiesRequest{})
	if err != nil {
		c.s.wrong("list the studies: %v", err)
		return false
	}
	node := c.random.IntN(len(c.conns))
	all := true
	found := map[string]bool{}
	for _, study := range response.GetStudies() {
		found[study.GetName()] = true
		if study.GetState() == trellisv1.StudyState_STUDY_STATE_PAUSED {
			_ = c.change(node, callResume, study.GetName())
		}
		all = all && lifecycle.StudyEnded(study.GetState())
	}
	for i := range keptStudies {
		if name := fmt.Sprintf("kept-%d", i); !found[name] {
			_ = c.create(node, name)
			all = false
		}
	}
	if !all {
		sleepUntil(ctx, time.Second)
	}
	return all
}
