package resources

import (
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Need is what one run of a study needs of a worker, besides a slot.
type Need struct {
	// Program says that the worker must run programs.
	Program bool
	// CPUs are cores, Memory is in bytes.
	CPUs   float64
	Memory uint64
	GPUs   uint32
	// Labels are those that the worker must have, and Study is whose run it is.
	Labels map[string]string
	Study  string
}

// Of returns what the runs of a study need. A model needs one core, and a program too, unless its spec says otherwise.
func Of(spec *trellisv1.StudySpec) Need {
	if spec.GetProgram() == nil {
		return Need{CPUs: 1, Labels: spec.GetWorkers(), Study: spec.GetName()}
	}
	its := spec.GetResources()
	need := Need{
		Program: true, CPUs: its.GetCpus(), Memory: its.GetMemory(), GPUs: its.GetGpus(), Labels: spec.GetWorkers(),
		Study: spec.GetName(),
	}
	if need.CPUs == 0 {
		need.CPUs = 1
	}
	return need
}

// Serves says whether a worker may be given such runs at all: it has the labels, and is not there for another study alone.
func (n Need) Serves(worker *trellisv1.Worker) bool {
	return n.serves(worker.GetLabels(), worker.GetStudy())
}

func (n Need) serves(labels map[string]string, study string) bool {
	if study != "" && study != n.Study {
		return false
	}
	for name, value := range n.Labels {
		if its, there := labels[name]; !there || its != value {
			return false
		}
	}
	return true
}

// Asks is the same text for the same labels. It is empty if there are none.
func (n Need) Asks() string {
	if len(n.Labels) == 0 {
		return ""
	}
	var asks strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		asks.WriteString(name + "\x00" + n.Labels[name] + "\x00")
	}
	return asks.String()
}

// Serving returns the workers that may be given runs of a study. They are the given ones if nothing sets these apart.
func Serving(spec *trellisv1.StudySpec, workers []*trellisv1.Worker) []*trellisv1.Worker {
	need := Of(spec)
	no := func(worker *trellisv1.Worker) bool { return !need.Serves(worker) }
	if !slices.ContainsFunc(workers, no) {
		return workers
	}
	return slices.DeleteFunc(slices.Clone(workers), no)
}

// Room is what a worker has left.
type Room struct {
	labels   map[string]string
	study    string
	programs bool
	cpus     float64
	memory   uint64
	gpus     uint32
}

// RoomOf returns what a worker has when it is idle. One that does not say how many cores it has has one for each slot, and
// one that does not say how much memory it has has enough.
func RoomOf(worker *trellisv1.Worker) Room {
	capacity := worker.GetCapacity()
	room := Room{
		programs: capacity.GetPrograms(), cpus: capacity.GetCpus(), memory: capacity.GetMemory(),
		gpus: uint32(len(capacity.GetGpus())), labels: worker.GetLabels(), study: worker.GetStudy(),
	}
	if room.cpus == 0 {
		room.cpus = float64(worker.GetSlots())
	}
	if room.memory == 0 {
		room.memory = math.MaxUint64
	}
	return room
}

// slack is how much of a core may be missing: sums of shares such as 0.1 are not exact.
const slack = 1e-9

// Fits says whether there is room for a run. A model needs its slot alone: slots are by default as many as cores, and
// whoever gives more wants more models at a time.
func (r *Room) Fits(need Need) bool {
	if !need.serves(r.labels, r.study) {
		return false
	}
	if !need.Program {
		return true
	}
	return r.programs && need.CPUs <= r.cpus+slack && need.Memory <= r.memory && need.GPUs <= r.gpus
}

// Take takes what a run needs. There may be less left than it needs: then nothing is left.
func (r *Room) Take(need Need) {
	r.cpus = max(0, r.cpus-need.CPUs)
	r.memory -= min(r.memory, need.Memory)
	r.gpus -= min(r.gpus, need.GPUs)
}

// Missing says what runs would wait for even if all READY workers were idle: nothing if one of them has what they need. If there
// are no workers, it is nothing, or labels. It looks at no more workers than it has to.
func Missing(need Need, ready iter.Seq[*trellisv1.Worker]) trellisv1.WaitingReason {
	some, serves, programs := false, false, false
	for worker := range ready {
		if some = true; !need.Serves(worker) {
			continue
		}
		room := RoomOf(worker)
		if room.Fits(need) {
			return trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED
		}
		serves, programs = true, programs || worker.GetCapacity().GetPrograms()
	}
	switch {
	case !serves && (some || len(need.Labels) > 0):
		return trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING
	case !serves:
		return trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED
	case !programs:
		return trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS
	}
	return trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE
}
