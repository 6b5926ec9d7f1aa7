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
	// CoreMemory is what a model's run takes for each further core, and Data are the bytes of its images, which runs on a
	// worker share if these are of the same Digest.
	CoreMemory, Data uint64
	Digest           string
	// Labels are those that the worker must have, and Study is whose run it is.
	Labels map[string]string
	Study  string
}

// small is how many bytes a model's run or its images may take without anybody looking whether there is room for them. The
// paper's networks take up to 90 MB, and MNIST 55 MB.
const small = 128 << 20

// Of returns what the runs of a study need. A model needs one core, and a program too, unless its spec says otherwise.
// What memory a model needs is known of its largest network, in studies that were created since it is.
func Of(study *trellisv1.Study) Need {
	spec := study.GetSpec()
	if spec.GetProgram() == nil {
		need := Need{CPUs: 1, Labels: spec.GetWorkers(), Study: spec.GetName()}
		network, data := study.GetNetwork(), uint64(0)
		for _, file := range study.GetDataSet().GetFiles() {
			data += file.GetSize()
		}
		if network.GetMemory() >= small {
			need.Memory, need.CoreMemory = network.GetMemory(), network.GetCoreMemory()
		}
		if network != nil && data >= small {
			need.Data, need.Digest = data, study.GetDataSet().GetDigest()
		}
		return need
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

// NeedsRoom says whether the runs need more of a worker than a slot.
func (n Need) NeedsRoom() bool { return n.Program || n.Memory > 0 || n.Data > 0 }

// Serves says whether a worker may be given such runs at all: it has the labels, and is not there for another study alone.
func (n Need) Serves(worker *trellisv1.Worker) bool {
	return n.serves(worker.GetLabels(), worker.GetStudy())
}

// Suits says whether a worker has what such a run needs, at least when it is idle.
func (n Need) Suits(worker *trellisv1.Worker) bool {
	room := RoomOf(worker)
	return room.Fits(n)
}

// Slots is how many of such runs a worker has room for side by side.
func (n Need) Slots(worker *trellisv1.Worker) (fit uint32) {
	if !n.NeedsRoom() && n.Serves(worker) {
		return worker.GetSlots()
	}
	for room := RoomOf(worker); fit < worker.GetSlots() && room.Fits(n); fit++ {
		room.Take(n)
	}
	return fit
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

// Serving returns the workers that may be given runs of a study: of models, those that suit these. They are the given ones
// if nothing sets these apart.
func Serving(study *trellisv1.Study, workers []*trellisv1.Worker) []*trellisv1.Worker {
	need := Of(study)
	no := func(worker *trellisv1.Worker) bool {
		return !need.Serves(worker) || !need.Program && !need.Suits(worker)
	}
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
	// all is the memory that it has when it is idle, slots and threads are the worker's, and data are the images that it
	// holds, by their digest.
	all, slots, threads uint64
	data                map[string]bool
}

// RoomOf returns what a worker has when it is idle. One that does not say how many cores it has has one for each slot, and
// one that does not say how much memory it has has enough.
func RoomOf(worker *trellisv1.Worker) Room {
	capacity := worker.GetCapacity()
	room := Room{
		programs: capacity.GetPrograms(), cpus: capacity.GetCpus(), memory: capacity.GetMemory(),
		gpus: uint32(len(capacity.GetGpus())), labels: worker.GetLabels(), study: worker.GetStudy(),
		slots: uint64(worker.GetSlots()), threads: uint64(capacity.GetThreads()),
	}
	if room.cpus == 0 {
		room.cpus = float64(worker.GetSlots())
	}
	if room.memory == 0 {
		room.memory = math.MaxUint64
	}
	room.all = room.memory
	return room
}

// slack is how much of a core may be missing: sums of shares such as 0.1 are not exact.
const slack = 1e-9

// Fits says whether there is room for a run. A model needs its slot and memory alone: slots are by default as many as
// cores, and whoever gives more wants more models at a time.
func (r *Room) Fits(need Need) bool {
	if !need.serves(r.labels, r.study) {
		return false
	}
	if !need.Program {
		return !need.NeedsRoom() || r.takes(need) <= r.memory
	}
	return r.programs && need.CPUs <= r.cpus+slack && need.Memory <= r.memory && need.GPUs <= r.gpus
}

// takes is how much memory a run takes. That of a model takes more for each core of an idle slot that it uses, but no more
// than leaves room for as many such runs side by side as there is without: see the worker's idleSlots, which keep to it.
func (r *Room) takes(need Need) uint64 {
	if need.Program || !need.NeedsRoom() {
		return need.Memory
	}
	memory := need.Memory
	if most := share(r.all-min(r.all, need.Data), memory, r.slots); memory > 0 && r.threads > 1 && memory < most {
		memory += min((r.threads-1)*need.CoreMemory, most-memory)
	}
	if !r.data[need.Digest] {
		memory += need.Data
	}
	return memory
}

// share is how much of the memory each has of the runs that there is room for side by side, if one takes so much.
func share(all, one, slots uint64) uint64 {
	if one == 0 {
		return all
	}
	return all / max(1, min(all/one, slots))
}

// Take takes what a run needs. There may be less left than it needs: then nothing is left.
func (r *Room) Take(need Need) {
	r.cpus = max(0, r.cpus-need.CPUs)
	r.memory -= min(r.memory, r.takes(need))
	r.gpus -= min(r.gpus, need.GPUs)
	if need.Data > 0 {
		if r.data == nil {
			r.data = map[string]bool{}
		}
		r.data[need.Digest] = true
	}
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
	case need.Program && !programs:
		return trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS
	}
	return trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE
}
