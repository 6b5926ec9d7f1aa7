package grid

import (
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Shared lets the points of a study share what they have in common: names, values, and the values of points that differ
// only in max_epochs and the seed. A million points would take much memory otherwise.
type Shared struct {
	names  map[string]string
	values map[sharedValue]*trellisv1.Value
	points map[string]map[string]*trellisv1.Value
}

// sharedValue tells values apart that are the same number, but are not written in the same way.
type sharedValue struct {
	kind trellisv1.Kind
	key  ValueKey
}

// NewShared returns one that knows no points.
func NewShared() *Shared {
	return &Shared{
		names: map[string]string{}, values: map[sharedValue]*trellisv1.Value{},
		points: map[string]map[string]*trellisv1.Value{},
	}
}

// Values returns the values of a point, in a map that nobody may change. It has nothing of the point itself.
func (s *Shared) Values(p *trellisv1.Parameters) map[string]*trellisv1.Value {
	var room [256]byte
	key := room[:0]
	for _, name := range NamesOf(p) {
		if name == MaxEpochs {
			continue
		}
		value := p.GetValues()[name]
		key = ValueKey{kind: trellisv1.Kind_KIND_TEXT, text: name}.append(key)
		key = KeyOf(value).append(append(key, byte(KindOf(value))))
	}
	if known, ok := s.points[string(key)]; ok {
		return known
	}
	values := make(map[string]*trellisv1.Value, len(p.GetValues()))
	for name, value := range p.GetValues() {
		values[s.name(name)] = s.value(value)
	}
	s.points[string(key)] = values
	return values
}

func (s *Shared) name(name string) string {
	known, ok := s.names[name]
	if !ok {
		known, s.names[name] = name, name
	}
	return known
}

func (s *Shared) value(value *trellisv1.Value) *trellisv1.Value {
	key := sharedValue{KindOf(value), KeyOf(value)}
	known, ok := s.values[key]
	if !ok {
		known = proto.CloneOf(value)
		s.values[key] = known
	}
	return known
}
