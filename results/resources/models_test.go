package resources

import (
	"slices"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

const giga = 1 << 30

// network is a study whose largest network takes so much, and for each further core as much as is said, on images of so
// many bytes.
func network(memory, core, images uint64) *trellisv1.Study {
	return &trellisv1.Study{
		Spec: &trellisv1.StudySpec{}, Network: &trellisv1.ModelSize{Memory: memory, CoreMemory: core},
		DataSet: &trellisv1.DataSet{Digest: "images", Files: []*trellisv1.DataFile{{Size: images}}},
	}
}

// How many runs of a network a worker is given at a time.
func TestNetworksTakeMemory(t *testing.T) {
	for name, test := range map[string]struct {
		study                  *trellisv1.Study
		memory, slots, threads uint32
		unknown                bool
		want                   uint32
	}{
		"the paper's network fits any machine":                {network(80<<20, 30<<20, 55<<20), 0, 64, 64, false, 64},
		"as many as the memory has room for":                  {network(giga, 0, 0), 4, 8, 1, false, 4},
		"no more than slots":                                  {network(giga, 0, 0), 40, 8, 1, false, 8},
		"none if one is larger":                               {network(5*giga, 0, 0), 4, 8, 1, false, 0},
		"images are there once":                               {network(giga, 0, 2*giga), 4, 8, 1, false, 2},
		"small networks on large images":                      {network(1<<20, 0, 5*giga), 4, 8, 1, false, 0},
		"small networks share images":                         {network(1<<20, 0, 3*giga), 4, 8, 1, false, 8},
		"further cores don't cost a run":                      {network(giga, giga/2, 0), 4, 8, 8, false, 4},
		"nor where less would be left":                        {network(3*giga, giga/2, 0), 4, 8, 8, false, 1},
		"unknown memory is enough":                            {network(1<<50, 1<<50, 1<<50), 0, 8, 8, true, 8},
		"a study of an older version takes nothing but slots": {&trellisv1.Study{DataSet: network(0, 0, 5*giga).DataSet}, 4, 8, 8, false, 8},
	} {
		its := &trellisv1.Capacity{Cpus: 8, Memory: uint64(test.memory) * giga, Threads: test.threads}
		if !test.unknown && test.memory == 0 {
			its.Memory = 1 // Not 0, which is unknown.
		}
		need := Of(test.study)
		worker := &trellisv1.Worker{Slots: test.slots, Capacity: its}
		if got := need.Slots(worker); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
		if suits := need.Suits(worker); suits != (test.want > 0) {
			t.Errorf("%s: it suits: %v", name, suits)
		}
	}
}

// A run that may use further cores leaves other studies what they don't take.
func TestCoresTakeMemory(t *testing.T) {
	worker := &trellisv1.Worker{Slots: 4, Capacity: &trellisv1.Capacity{Memory: 16 * giga, Threads: 4}}
	for _, test := range []struct {
		core uint64
		left uint64
	}{
		{0, 14 * giga},            // The run alone has 2 GiB.
		{giga / 2, 25 * giga / 2}, // Its three further cores have 1.5.
		{giga, 12 * giga},         // They would have 3, but four such runs are to have room: 4 for each.
	} {
		room := RoomOf(worker)
		room.Take(Of(network(2*giga, test.core, 0)))
		if !room.Fits(Of(network(test.left, 0, 0))) || room.Fits(Of(network(test.left+1, 0, 0))) {
			t.Errorf("with %d bytes for a core, %d are left, want %d", test.core, room.memory, test.left)
		}
	}
}

func TestMissingMemory(t *testing.T) {
	small := &trellisv1.Worker{Slots: 1, Capacity: &trellisv1.Capacity{Memory: giga}}
	large := &trellisv1.Worker{Slots: 1, Capacity: &trellisv1.Capacity{Memory: 4 * giga}}
	need := Of(network(2*giga, 0, 0))
	for _, test := range []struct {
		workers []*trellisv1.Worker
		want    trellisv1.WaitingReason
	}{
		{nil, 0},
		{[]*trellisv1.Worker{small}, trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE},
		{[]*trellisv1.Worker{small, large}, 0},
	} {
		if got := Missing(need, slices.Values(test.workers)); got != test.want {
			t.Errorf("missing is %v, want %v", got, test.want)
		}
	}
	if got := Serving(network(2*giga, 0, 0), []*trellisv1.Worker{small, large}); len(got) != 1 || got[0] != large {
		t.Errorf("served by %v", got)
	}
}
