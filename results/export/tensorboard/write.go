package tensorboard

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	tensorboardv1 "trellis/proto/tensorboard/v1"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/export"
	"trellis/results/grid"
	"trellis/results/lifecycle"
)

// Tags of scalars that every trial has: the objective, at the epoch that it comes from, and the test loss.
const (
	objectiveTag = "objective"
	testTag      = "test_loss"
)

// Write writes a study's trials under a folder, which is there. Event files carry times: an epoch's is when the study
// was created, and the worker time of the epochs until then, of which all of a run are taken to last equally long.
func Write(folder string, study *trellisv1.Study, spool *export.Spool) error {
	// TensorBoard sorts names by their letters.
	digits := len(strconv.FormatUint(max(study.GetIndices(), 1)-1, 10))
	w := writer{folder: folder, created: study.GetCreateTime().AsTime(), spool: spool, digits: digits}
	if err := w.experiment(study); err != nil {
		return err
	}
	for row, err := range spool.Rows() {
		if err != nil {
			return err
		}
		if err := w.trial(row); err != nil {
			return fmt.Errorf("trial %d: %w", row.Trial.GetIndex(), err)
		}
	}
	return nil
}

type writer struct {
	folder  string
	created time.Time
	spool   *export.Spool
	// digits are those of the highest index.
	digits int
}

// name is a trial's.
func (w writer) name(trial *trellisv1.Trial) string {
	return fmt.Sprintf("trial-%0*d", w.digits, trial.GetIndex())
}

// experiment says which parameters and metrics there are.
func (w writer) experiment(study *trellisv1.Study) error {
	experiment := &tensorboardv1.Experiment{
		Description: study.GetName(), TimeCreatedSecs: unix(w.created),
	}
	for _, parameter := range append(w.spool.Parameters(), export.Column{Name: grid.Seed, Kind: export.Integer}) {
		experiment.HparamInfos = append(experiment.HparamInfos, &tensorboardv1.HParamInfo{
			Name: parameter.Name, Type: typeOf(parameter.Kind),
		})
	}
	tags := []string{objectiveTag}
	if w.spool.HasLosses() {
		tags = append(tags, "validation_loss", "train_loss", testTag)
	}
	for _, name := range w.spool.ByEpoch() {
		tags = append(tags, metricTag(name))
	}
	for _, name := range w.spool.TestMetrics() {
		tags = append(tags, w.testMetricTag(name))
	}
	for _, tag := range tags {
		experiment.MetricInfos = append(experiment.MetricInfos, &tensorboardv1.MetricInfo{
			Name: &tensorboardv1.MetricName{Tag: tag},
		})
	}
	return w.file(".", func(add func(*tensorboardv1.Event) error) error {
		return add(plugin("_hparams_/experiment", unix(w.created), &tensorboardv1.HParamsPluginData{
			Data: &tensorboardv1.HParamsPluginData_Experiment{Experiment: experiment},
		}))
	})
}

func typeOf(kind export.Kind) tensorboardv1.ParameterType {
	switch kind {
	case export.Boolean:
		return tensorboardv1.ParameterType_PARAMETER_TYPE_BOOL
	case export.Text:
		return tensorboardv1.ParameterType_PARAMETER_TYPE_STRING
	}
	return tensorboardv1.ParameterType_PARAMETER_TYPE_FLOAT64
}

// metricTag is the tag of a metric, which a program may have called as a scalar of ours.
func metricTag(name string) string {
	switch name {
	case objectiveTag, "train_loss", "validation_loss", testTag:
		return ownTag + name
	}
	return name
}

// ownTag is what tags of metrics begin with whose names other scalars have.
const ownTag = "metric/"

// testMetricTag is the tag of a metric on the test images.
func (w writer) testMetricTag(name string) string {
	name = "test_" + name
	if slices.Contains(w.spool.ByEpoch(), name) {
		return ownTag + name
	}
	return metricTag(name)
}

// trial writes the file of one trial.
func (w writer) trial(row export.Row) error {
	trial := row.Trial
	perEpoch := 0.0
	if epochs := row.Run.GetEpochs(); epochs > 0 {
		perEpoch = (row.Run.GetTrainingSeconds() + row.Run.GetSharedSeconds()) / float64(epochs)
	}
	at := func(epoch uint32) float64 { return unix(w.created) + perEpoch*float64(epoch) }
	return w.file(w.name(trial), func(add func(*tensorboardv1.Event) error) error {
		if err := add(plugin("_hparams_/session_start_info", unix(w.created), &tensorboardv1.HParamsPluginData{
			Data: &tensorboardv1.HParamsPluginData_SessionStartInfo{SessionStartInfo: w.start(trial)},
		})); err != nil {
			return err
		}
		values := export.ValuesOf(trial, w.spool.HasLosses(), w.spool.ByEpoch())
		for epoch := range trial.GetEpochs() {
			event := &tensorboardv1.Event{WallTime: at(epoch + 1), Step: int64(epoch) + 1}
			summary := new(tensorboardv1.Summary)
			for i, its := range values {
				tag := its.Name
				if i >= 2 || !w.spool.HasLosses() {
					tag = metricTag(tag)
				}
				if value, ok := its.At(epoch); ok {
					summary.Values = append(summary.Values, scalar(tag, value))
				}
			}
			if event.What = (&tensorboardv1.Event_Summary{Summary: summary}); len(summary.GetValues()) == 0 {
				continue
			}
			if err := add(event); err != nil {
				return err
			}
		}
		results := &tensorboardv1.Event{WallTime: at(trial.GetEpochs()), Step: int64(trial.GetBestEpoch())}
		summary := new(tensorboardv1.Summary)
		if trial.Objective != nil {
			summary.Values = append(summary.Values, scalar(objectiveTag, trial.GetObjective()))
		}
		if trial.TestLoss != nil {
			summary.Values = append(summary.Values, scalar(testTag, trial.GetTestLoss()))
		}
		for _, name := range w.spool.TestMetrics() {
			if value, ok := trial.GetTestMetrics()[name]; ok {
				summary.Values = append(summary.Values, scalar(w.testMetricTag(name), value))
			}
		}
		if len(summary.GetValues()) > 0 {
			results.What = &tensorboardv1.Event_Summary{Summary: summary}
			if err := add(results); err != nil {
				return err
			}
		}
		return w.end(add, trial, at(trial.GetEpochs()))
	})
}

// start is a trial's parameters.
func (w writer) start(trial *trellisv1.Trial) *tensorboardv1.SessionStartInfo {
	its := map[string]*structpb.Value{grid.Seed: structpb.NewNumberValue(float64(trial.GetParameters().GetSeed()))}
	for _, parameter := range w.spool.Parameters() {
		value := grid.Value(trial.GetParameters(), parameter.Name)
		if value == nil {
			continue
		}
		switch plain := value.Plain().(type) {
		case float64:
			its[parameter.Name] = structpb.NewNumberValue(plain)
		case int64:
			its[parameter.Name] = structpb.NewNumberValue(float64(plain))
		case bool:
			its[parameter.Name] = structpb.NewBoolValue(plain)
		}
		if parameter.Kind == export.Text {
			its[parameter.Name] = structpb.NewStringValue(value.Written())
		}
	}
	return &tensorboardv1.SessionStartInfo{
		Hparams: its, GroupName: w.name(trial), StartTimeSecs: unix(w.created),
	}
}

// end says what became of a trial, unless nobody has begun it.
func (w writer) end(add func(*tensorboardv1.Event) error, trial *trellisv1.Trial, at float64) error {
	status := tensorboardv1.SessionStatus_SESSION_STATUS_UNSPECIFIED
	switch trial.GetState() {
	case lifecycle.TrialPending:
		return nil
	case lifecycle.TrialRunning:
		status = tensorboardv1.SessionStatus_SESSION_STATUS_RUNNING
	case lifecycle.TrialSucceeded:
		status = tensorboardv1.SessionStatus_SESSION_STATUS_SUCCESS
	case lifecycle.TrialFailed, lifecycle.TrialDiverged:
		status = tensorboardv1.SessionStatus_SESSION_STATUS_FAILURE
	}
	return add(plugin("_hparams_/session_end_info", at, &tensorboardv1.HParamsPluginData{
		Data: &tensorboardv1.HParamsPluginData_SessionEndInfo{SessionEndInfo: &tensorboardv1.SessionEndInfo{
			Status: status, EndTimeSecs: at,
		}},
	}))
}

// scalar is a value that TensorBoard draws.
func scalar(tag string, value float64) *tensorboardv1.Summary_Value {
	return &tensorboardv1.Summary_Value{
		Tag: tag, Value: &tensorboardv1.Summary_Value_SimpleValue{SimpleValue: float32(value)},
		Metadata: &tensorboardv1.SummaryMetadata{
			PluginData: &tensorboardv1.SummaryMetadata_PluginData{PluginName: "scalars"},
			DataClass:  tensorboardv1.DataClass_DATA_CLASS_SCALAR,
		},
	}
}

// plugin is what the plugin HParams reads: its data is in the metadata of a tensor without values.
func plugin(tag string, at float64, data *tensorboardv1.HParamsPluginData) *tensorboardv1.Event {
	// These messages have no field that can't be encoded: all texts have passed through protobuf before.
	content, _ := proto.MarshalOptions{Deterministic: true}.Marshal(data)
	return &tensorboardv1.Event{
		WallTime: at,
		What: &tensorboardv1.Event_Summary{Summary: &tensorboardv1.Summary{Values: []*tensorboardv1.Summary_Value{{
			Tag: tag,
			Value: &tensorboardv1.Summary_Value_Tensor{Tensor: &tensorboardv1.Tensor{
				Dtype:       tensorboardv1.TensorType_TENSOR_TYPE_FLOAT,
				TensorShape: &tensorboardv1.TensorShape{Dims: []*tensorboardv1.TensorShape_Dimension{{}}},
			}},
			Metadata: &tensorboardv1.SummaryMetadata{
				PluginData: &tensorboardv1.SummaryMetadata_PluginData{PluginName: "hparams", Content: content},
				DataClass:  tensorboardv1.DataClass_DATA_CLASS_TENSOR,
			},
		}}}},
	}
}

// file writes an event file in a folder below the writer's.
func (w writer) file(name string, write func(add func(*tensorboardv1.Event) error) error) (err error) {
	folder := filepath.Join(w.folder, name)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	path := filepath.Join(folder, fmt.Sprintf("events.out.tfevents.%010d.trellis", w.created.Unix()))
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriter(file)
	add := func(event *tensorboardv1.Event) error { return writeEvent(out, event) }
	if err := add(&tensorboardv1.Event{
		WallTime: unix(w.created), What: &tensorboardv1.Event_FileVersion{FileVersion: "brain.Event:2"},
	}); err != nil {
		return err
	}
	if err := write(add); err != nil {
		return err
	}
	return out.Flush()
}

// unix is a time in seconds since 1970.
func unix(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
