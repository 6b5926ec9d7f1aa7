package reproduction

import (
	"fmt"
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
)

// Defaults of an Analysis.
const (
	DefaultImages     = 10_000
	DefaultPerplexity = 30
	DefaultIterations = 1000
	DefaultSamples    = 1000
)

// Complete returns the study of a stage, with the values of the best trial of the study that best_of names on the axes
// that it leaves out. best is nil if the stage has no best_of.
func Complete(models grid.Models, stage *trellisv1.Stage, best *trellisv1.Parameters) *trellisv1.StudySpec {
	if best == nil {
		return proto.CloneOf(stage.GetStudy())
	}
	return models.WithPoint(stage.GetStudy(), best)
}

// DependsOn returns the studies that a stage needs to have ended.
func DependsOn(stage *trellisv1.Stage) []string {
	var studies []string
	for _, study := range []string{stage.GetBestOf(), stage.GetStudy().GetPretrained().GetStudy()} {
		if study != "" && !slices.Contains(studies, study) {
			studies = append(studies, study)
		}
	}
	return studies
}

// valid are parameters that every study takes. A stage is checked with them before the study that it takes its values
// from has been trained.
var valid = &trellisv1.Parameters{MaxEpochs: 10_000, Values: trellisv1.ValuesOf(map[string]any{
	grid.LatentDim: 16, grid.LearningRate: 1e-3, grid.WeightDecay: 0.0, grid.BatchSize: 256,
})}

// Validate checks a reproduction: the rules that its messages state, every study by validateStudy, and that studies are
// named once, depend on earlier ones, and are what the analysis takes them for, on one data set. What is wrong comes as
// a *protovalidate.ValidationError, with the path of each field.
func Validate(models grid.Models, r *trellisv1.Reproduction, validateStudy func(*trellisv1.StudySpec) error) error {
	found := new(protovalidate.ValidationError)
	if err := validateMessages(r, found); err != nil {
		return err
	}
	trained, stages := map[string]string{}, map[string]int{}
	for i, stage := range r.GetStages() {
		for _, name := range DependsOn(stage) {
			if _, earlier := trained[name]; !earlier {
				found.Violations = append(found.Violations, violation("stage.depends_on",
					fmt.Sprintf("there is no earlier stage with a study %q: put a stage after those that it "+
						"depends on", name),
					"stages", i))
			}
		}
		var best *trellisv1.Parameters
		if stage.GetBestOf() != "" {
			best = valid
		}
		if err := collectStudy(validateStudy(Complete(models, stage, best)), i, found); err != nil {
			return err
		}
		name := stage.GetStudy().GetName()
		if _, again := trained[name]; again {
			found.Violations = append(found.Violations, violation("stage.name",
				fmt.Sprintf("two stages have a study %q: each study needs its own name", name),
				"stages", i, "study", "name"))
		}
		trained[name], stages[name] = stage.GetStudy().GetModel(), i
	}
	if analysis := r.GetAnalysis(); analysis != nil {
		if full := WithDefaults(analysis); float64(full.GetImages()) <= 3*full.GetPerplexity() {
			field := "perplexity"
			if analysis.GetPerplexity() == 0 {
				field = "images"
			}
			found.Violations = append(found.Violations, violation("analysis.neighbours", fmt.Sprintf(
				"t-SNE needs more than three times as many images as its perplexity: %d images, perplexity %v",
				full.GetImages(),
				full.GetPerplexity()), "analysis", field))
		}
		for _, role := range []struct{ field, study, model string }{
			{"autoencoder", analysis.GetAutoencoder(), trainer.ConvAutoencoder},
			{"denoising", analysis.GetDenoising(), trainer.DenoisingAutoencoder},
			{"classifier", analysis.GetClassifier(), trainer.Classifier},
			{"variational", analysis.GetVariational(), trainer.VariationalAutoencoder},
		} {
			model, there := trained[role.study]
			switch {
			case role.study == "": // The message's own rule says so.
			case !there:
				found.Violations = append(found.Violations, violation("analysis.study",
					fmt.Sprintf("there is no stage with a study %q", role.study), "analysis", role.field))
			case model != role.model:
				found.Violations = append(found.Violations, violation("analysis.model",
					fmt.Sprintf("study %s has the model %s, but must "+
						"have %s", role.study, model, role.model), "analysis",
					role.field))
			}
			data := func(study string) string { return r.GetStages()[stages[study]].GetStudy().GetData() }
			if _, known := trained[analysis.GetAutoencoder()]; !known || !there {
				continue
			}
			if want := data(analysis.GetAutoencoder()); data(role.study) != want {
				found.Violations = append(found.Violations, violation("analysis.data", fmt.Sprintf(
					"the studies of the analysis need the same data set: study %s has %q, study %s has %q",
					role.study, data(role.study), analysis.GetAutoencoder(), want),
					"stages", stages[role.study], "study", "data"))
			}
		}
	}
	if len(found.Violations) == 0 {
		return nil
	}
	return found
}

// validateMessages checks the rules of the messages, but for those of the studies, which are not complete yet.
func validateMessages(r *trellisv1.Reproduction, found *protovalidate.ValidationError) error {
	shallow := proto.CloneOf(r)
	for _, stage := range shallow.GetStages() {
		if stage.Study != nil {
			stage.Study = &trellisv1.StudySpec{
				Name: "a", Data: "a", Model: "a",
				Grid: []*trellisv1.Grid{{}},
			}
		}
	}
	err := protovalidate.Validate(shallow)
	if err == nil {
		return nil
	}
	invalid, ok := err.(*protovalidate.ValidationError)
	if !ok {
		return err
	}
	found.Violations = append(found.Violations, invalid.Violations...)
	return nil
}

// collectStudy takes in what is wrong with the study of a stage, under the path that it has in the reproduction.
func collectStudy(err error, stage int, found *protovalidate.ValidationError) error {
	if err == nil {
		return nil
	}
	invalid, ok := err.(*protovalidate.ValidationError)
	if !ok {
		return err
	}
	prefix := violation("", "", "stages", stage, "study").Proto.GetField().GetElements()
	for _, v := range invalid.Violations {
		moved := *v
		moved.Proto = proto.CloneOf(v.Proto)
		moved.Proto.Field = validate.FieldPath_builder{
			Elements: slices.Concat(prefix, v.Proto.GetField().GetElements()),
		}.Build()
		found.Violations = append(found.Violations, &moved)
	}
	return nil
}

func violation(rule, message string, path ...any) *protovalidate.Violation {
	return grid.Violation((*trellisv1.Reproduction)(nil), rule, message, path...)
}
