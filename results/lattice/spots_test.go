package lattice

import (
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// checkSpots compares the spots of all runs with the runs themselves.
func checkSpots(t *rapid.T, l *Lattice) {
	place := uint32(rapid.IntRange(0, int(l.Runs())-1).Draw(t, "first spot"))
	for spot := range l.Spots(place, l.Runs()) {
		run, before := l.Run(place), uint32(0)
		if l.earlier != nil && place < l.earlier.Runs() {
			before = l.earlier.Run(place).Parameters.MaxEpochs
		}
		if spot.Epochs != run.Parameters.MaxEpochs || spot.Before != before {
			t.Fatalf("place %d ends at %d, and before at %d: want %v and %d", place, spot.Epochs, spot.Before, run, before)
		}
		point, rest := &trellisv1.Parameters{MaxEpochs: spot.Epochs, Values: map[string]*trellisv1.Value{}}, spot.Rest
		for i := len(spot.Product.Dimensions) - 1; i >= 0; i-- {
			d := &spot.Product.Dimensions[i]
			switch value := d.Value(rest % d.Size()); d.Name {
			case grid.MaxEpochs:
			case grid.Seed:
				point.Seed = d.Epochs(rest % d.Size())
			default:
				point.Values[d.Name] = value
			}
			rest /= d.Size()
		}
		if !proto.Equal(point, run.Parameters) || rest != 0 {
			t.Fatalf("place %d is at %v, and its run is %v", place, point, run)
		}
		place++
	}
	if place != l.Runs() {
		t.Fatalf("the spots end at place %d of %d", place, l.Runs())
	}
}
