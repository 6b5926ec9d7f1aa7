package grid

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// WithLatentDim returns the spec, or a copy in which grids without a latent dimension have this one.
func WithLatentDim(spec *trellisv1.StudySpec, latentDim uint32) *trellisv1.StudySpec {
	if !slices.ContainsFunc(spec.GetGrid(), leavesLatentDimOut) {
		return spec
	}
	spec = proto.CloneOf(spec)
	for _, grid := range spec.GetGrid() {
		if leavesLatentDimOut(grid) {
			put(grid, LatentDim, trellisv1.AxisOf(int(latentDim)))
		}
	}
	return spec
}

func leavesLatentDimOut(grid *trellisv1.Grid) bool { return grid.GetAxes()[LatentDim] == nil }

// knownLatentDim is the spec as far as it can be checked before its source is known: a latent dimension that comes from
// there is a single one, which is valid where it comes from.
func knownLatentDim(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	if spec.GetPretrained().GetStudy() == "" {
		return spec
	}
	return WithLatentDim(spec, 1)
}

// ResolveEncoder returns a valid spec with the latent dimension, and the values of the other axes that shape an
// encoder, of the trial or run that its pretrained weights come from, if that is known. Weights only fit their own:
// if a grid has others, the error is a *protovalidate.ValidationError that names them.
func (models Models) ResolveEncoder(
	spec *trellisv1.StudySpec, source *trellisv1.Source,
) (*trellisv1.StudySpec, error) {
	if source.GetParameters() == nil {
		return spec, nil
	}
	spec = proto.CloneOf(spec)
	b := builder{}
	axes := []*trellisv1.ModelAxis{{Name: LatentDim}}
	for _, axis := range models.Find(spec.GetModel()).GetAxes() {
		if axis.GetEncoder() {
			axes = append(axes, axis)
		}
	}
	for _, axis := range axes {
		its := source.GetParameters().GetValues()[axis.GetName()]
		if its == nil {
			its = axis.GetDefault() // It was trained before there was the axis.
		}
		for i := range spec.GetGrid() {
			b.resolve(spec, i, axis, its, source)
		}
	}
	if err := b.err(); err != nil {
		return nil, err
	}
	return spec, nil
}

// resolve gives a grid the value of an axis that its pretrained weights have, or refuses another.
func (b *builder) resolve(
	spec *trellisv1.StudySpec, i int, of *trellisv1.ModelAxis, its *trellisv1.Value, source *trellisv1.Source,
) {
	name, axes := of.GetName(), axesOf(spec, i)
	at := slices.IndexFunc(axes, func(axis namedAxis) bool { return axis.name == name })
	if at < 0 {
		if of.Default == nil || KeyOf(its) != KeyOf(of.GetDefault()) {
			put(spec.GetGrid()[i], name, trellisv1.ListOf(its))
		}
		return
	}
	for _, value := range (&builder{}).values(axes[at].axis).values {
		if KeyOf(value) == KeyOf(its) {
			continue
		}
		what, that := name+" "+inWords(its), "with that"
		if name == LatentDim {
			what, that = "the latent dimension "+inWords(its), "of that dimension"
		}
		weights := fmt.Sprintf("the weights of trial %d of study %s have", source.GetTrial(), source.GetStudy())
		right := fmt.Sprintf("leave %s out, or name a trial %s", name, that)
		if source.GetStudy() == "" {
			weights = fmt.Sprintf("the weights of the checkpoint %s have", source.GetSha256())
			right = fmt.Sprintf("%s: %s, or name a checkpoint %s", name, inWords(its), that)
		}
		b.refuse("pretrained."+name, fmt.Sprintf("%s %s and fit no other, such as %s: %s", weights, what, inWords(value),
			right), axes[at].path...)
		return
	}
}

// checkPretrained refuses pretrained weights that are missing, or that the model does not begin with. It begins with
// some if it allows any models.
func (b *builder) checkPretrained(spec *trellisv1.StudySpec, allowed []string) {
	switch named := spec.GetPretrained() != nil; {
	case named && len(allowed) == 0:
		b.refuse("pretrained.none", fmt.Sprintf("the model %s begins with random weights: leave pretrained out",
			spec.GetModel()),
			"pretrained")
	case !named && len(allowed) > 0:
		b.refuse("pretrained.required", fmt.Sprintf(
			"the model %s begins with weights of the model %s: name a study of it, for example pretrained: {study: paper}",
			spec.GetModel(), strings.Join(allowed, " or ")), "pretrained")
	}
}

// CheckSourceInput returns a *protovalidate.ValidationError if pretrained weights, of whose run something is known, are
// of a network for other images than those of the data set, whatever their classes.
func CheckSourceInput(spec *trellisv1.StudySpec, source *trellisv1.Source, dataSet *trellisv1.DataSet) error {
	if source.GetRun() == "" || dataSet.GetHeight() == 0 {
		return nil
	}
	theirs, its := source.GetInput(), InputOf(spec, dataSet)
	if theirs == nil {
		theirs = &digits
	}
	if its == nil {
		its = &digits
	}
	if theirs.Channels == its.Channels && theirs.Height == its.Height && theirs.Width == its.Width {
		return nil
	}
	images := func(input *trellisv1.ModelInput) string {
		text := fmt.Sprintf("%d x %d pixels and %d channel", input.Height, input.Width, input.Channels)
		if input.Channels != 1 {
			text += "s"
		}
		return text
	}
	return invalid("pretrained.input", fmt.Sprintf(
		"the weights are of a network for images of %s, and the data set %q has images of %s: name a study on such images",
		images(theirs), dataSet.GetName(), images(its)), "pretrained")
}

// CheckSource returns a *protovalidate.ValidationError if pretrained weights are not of one of the models that are
// allowed for the spec's model. whose describes the weights for the error: "study paper", or "the checkpoint <digest>,
// of study paper,".
func CheckSource(spec *trellisv1.StudySpec, whose, model string, allowed []string) error {
	if slices.Contains(allowed, model) {
		return nil
	}
	b := builder{}
	b.refuse("pretrained.model", fmt.Sprintf("%s is of the model %s; the model %s begins with weights of the model %s",
		whose, model, spec.GetModel(), strings.Join(allowed, " or ")), "pretrained")
	return b.err()
}
