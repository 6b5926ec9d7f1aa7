package resources

import (
	"math"
	"slices"

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
}

// Of returns what the runs of a study need. A model needs one core, and a program too, unless its spec says otherwise.
func Of(spec *trellisv1.StudySpec) Need {
	if spec.GetProgram() == nil {
		return Need{CPUs: 1}
	}
	its := spec.GetResources()
	need := Need{Program: true, CPUs: its.GetCpus(), Memory: its.GetMemory(), GPUs: its.GetGpus()}
	if need.CPUs == 0 {
		need.CPUs = 1
	}
	return need
}

// Room is what a worker has left.
type Room struct {
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
		gpus: uint32(len(capacity.GetGpus())),
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

// Missing says what runs would wait for even if all workers were idle: nothing if one of them has what they need, and
// nothing if there are no workers.
func Missing(need Need, workers []*trellisv1.Worker) trellisv1.WaitingReason {
	if len(workers) == 0 || !need.Program {
		return trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED
	}
	if !slices.ContainsFunc(workers, func(w *trellisv1.Worker) bool { return w.GetCapacity().GetPrograms() }) {
		return trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS
	}
	if !slices.ContainsFunc(workers, func(w *trellisv1.Worker) bool {
		room := RoomOf(w)
		return room.Fits(need)
	}) {
		return trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE
	}
	return trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED
}
