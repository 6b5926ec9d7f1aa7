package lead

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// dataInterval is how often the leader looks for the data sets and pretrained weights of unfinished studies.
const dataInterval = 5 * time.Second

const (
	weightsMissing = trellisv1.WaitingReason_WAITING_REASON_WEIGHTS_MISSING
	filesMissing   = trellisv1.WaitingReason_WAITING_REASON_FILES_MISSING
)

// artifactOf returns the digest of the artifact without which none of a study's runs can be trained, and what the study
// waits for if it is missing. It is empty if there is none: no study has pretrained weights and a program.
func artifactOf(study *trellisv1.Study) (digest string, missing trellisv1.WaitingReason) {
	if files := study.GetSpec().GetProgram().GetFiles(); files != nil {
		return files.GetSha256(), filesMissing
	}
	return study.GetPretrained().GetSha256(), weightsMissing
}

// DataSets finds data sets by their content.
type DataSets interface {
	// FindDigest returns the verified data set of that digest, whatever its name. If there is none it says what is missing:
	// the name stands for nothing, or for a data set of another digest. It does not wait for downloads: one look looks for
	// the data sets of all studies.
	FindDigest(ctx context.Context, digest, name string) (*trellisv1.DataSet, *trellisv1.WaitingFor)
}

// Weights finds pretrained weights.
type Weights interface {
	// Check returns why weights can't be had, or nil. It reads all of them only if whole is set.
	Check(ctx context.Context, digest string, whole bool) error
}

var _ Weights = (*artifact.Keeper)(nil)

// data knows which unfinished studies wait for their data sets, their pretrained weights or the files of their programs: the
// coordinator was started without them, or their files have changed. None of their runs is given to a worker, where it would fail. It is in the leader's
// memory: a new leader, which may have other files, looks by itself.
type data struct {
	store      Snapshots
	sets       DataSets
	weights    Weights
	dispatcher waker
	logger     *slog.Logger

	mu sync.Mutex
	// waiting are the studies that wait, by name.
	waiting map[string]absence
	// damaged are the digests of weights that could not be served. That they are there says little: they are read.
	damaged map[string]bool
	// changed is closed when waiting changes.
	changed chan struct{}
}

// absence is a study that waits, and what it waits for. Its messages are never changed.
type absence struct {
	study *trellisv1.Study
	why   *trellisv1.WaitingFor
}

var _ absences = (*data)(nil)

func newData(config Config, dispatcher waker) *data {
	return &data{
		store: config.Store, sets: config.DataSets, weights: config.Artifacts, dispatcher: dispatcher, logger: config.Logger,
		changed: make(chan struct{}),
	}
}

// run looks at once, and then again and again.
func (d *data) run(ctx context.Context) {
	d.restart()
	for {
		if err := d.look(ctx); err != nil && ctx.Err() == nil {
			d.logger.Error("look for the data sets of studies", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(dataInterval):
		}
	}
}

// restart forgets everything.
func (d *data) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting, d.damaged = nil, nil
}

// look looks for the data sets and pretrained weights of all studies that have not ended.
func (d *data) look(ctx context.Context) error {
	studies, err := d.store.Snapshot().Studies(nil)
	if err != nil {
		return err
	}
	type dataSet struct{ digest, name string }
	looked := map[dataSet]*trellisv1.WaitingFor{}
	waiting, artifacts := map[string]absence{}, map[string]*trellisv1.WaitingFor{}
	for _, study := range studies {
		its := dataSet{study.GetDataSet().GetDigest(), study.GetDataSet().GetName()}
		if lifecycle.StudyEnded(study.GetState()) {
			continue
		}
		missing, known := looked[its]
		if !known && its.digest != "" {
			_, missing = d.sets.FindDigest(ctx, its.digest, its.name)
			looked[its] = missing
		}
		if digest, reason := artifactOf(study); missing == nil && digest != "" {
			if missing, known = artifacts[digest]; !known {
				missing = d.lookForArtifact(ctx, digest, reason)
				artifacts[digest] = missing
			}
		}
		if missing != nil {
			waiting[study.GetName()] = absence{study, missing}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err() // What was not found may be there.
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(waiting)
	return nil
}

// lookForArtifact returns what a study waits for that needs an artifact, or nil.
func (d *data) lookForArtifact(
	ctx context.Context, digest string, reason trellisv1.WaitingReason,
) *trellisv1.WaitingFor {
	d.mu.Lock()
	damaged := d.damaged[digest]
	d.mu.Unlock()
	if err := d.weights.Check(ctx, digest, damaged); err != nil {
		return &trellisv1.WaitingFor{Reason: reason, Message: err.Error()}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.damaged, digest)
	return nil
}

// missing notes that a data set, weights or files can't be served. The next look says whether that still holds: until then, its runs are
// not given to one worker after another, which could only hand them back.
func (d *data) missing(digest string, why *trellisv1.WaitingFor) error {
	studies, err := d.store.Snapshot().Studies(nil)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := make(map[string]absence, len(d.waiting)+1)
	maps.Copy(waiting, d.waiting)
	for _, study := range studies {
		needed, its := study.GetDataSet().GetDigest(), why
		if why.GetReason() == weightsMissing {
			// Whoever asked did not know what the artifact is.
			var reason trellisv1.WaitingReason
			needed, reason = artifactOf(study)
			its = &trellisv1.WaitingFor{Reason: reason, Message: why.GetMessage()}
		}
		if needed != digest || lifecycle.StudyEnded(study.GetState()) {
			continue
		}
		waiting[study.GetName()] = absence{study, its}
		if why.GetReason() == weightsMissing {
			if d.damaged == nil {
				d.damaged = map[string]bool{}
			}
			d.damaged[digest] = true
		}
	}
	d.set(waiting)
	return nil
}

// set takes over which studies wait now, and says of each once that it does. The lock is held.
func (d *data) set(waiting map[string]absence) {
	freed, same := false, len(waiting) == len(d.waiting)
	for name, before := range d.waiting {
		now, still := waiting[name]
		if !still {
			freed = true
			d.logger.Info("the study no longer waits", "study", name)
		}
		same = same && proto.Equal(before.why, now.why)
	}
	for name, now := range waiting {
		if d.waiting[name].why.GetReason() != now.why.GetReason() {
			d.warn(now)
		}
	}
	d.waiting = waiting
	if !same {
		close(d.changed)
		d.changed = make(chan struct{})
	}
	if freed {
		d.dispatcher.wake()
	}
}

func (d *data) warn(now absence) {
	if now.why.GetReason() == filesMissing {
		d.logger.Warn("the study waits: its program's files are missing; start the coordinator with the artifacts "+
			"(--artifacts) that have them, or cancel the study", "study", now.study.GetName(),
			"sha256", now.study.GetSpec().GetProgram().GetFiles().GetSha256(), "error", now.why.GetMessage())
		return
	}
	if now.why.GetReason() == weightsMissing {
		d.logger.Warn("the study waits: its pretrained weights are missing; start the coordinator with the artifacts "+
			"(--artifacts) that have them, or cancel the study",
			"study", now.study.GetName(), "sha256", now.study.GetPretrained().GetSha256(), "error", now.why.GetMessage())
		return
	}
	logger := d.logger.With("study", now.study.GetName(), "data_set", now.study.GetDataSet().GetName(),
		"digest", now.study.GetDataSet().GetDigest())
	if now.why.GetReason() == trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED {
		logger.Warn("the study waits: its data set has changed; restore the files that it was created with, or "+
			"cancel it",
			"found", now.why.GetFound())
		return
	}
	logger.Warn("the study waits: its data set is missing; put it back into the folder of data sets, or cancel the "+
		"study",
		"error", now.why.GetMessage())
}

// WaitingFor returns what a study waits for, or nil if it does not wait.
func (d *data) WaitingFor(study string) *trellisv1.WaitingFor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting[study].why
}

// next is closed at the next change of what studies wait for.
func (d *data) next() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}
