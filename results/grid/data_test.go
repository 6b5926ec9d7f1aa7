package grid

import (
	"errors"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// What no worker could train is refused before it is tried, and the message says what the model takes.
func TestDataOfModel(t *testing.T) {
	models := Models{
		{Name: "digits", Data: true, Height: 28, Width: 28, Classes: 10},
		{Name: "images", Data: true, Height: 28, Width: 28},
		{Name: "anything", Data: true},
	}
	of := func(height, width uint32, classes *uint32) *trellisv1.DataSet {
		return &trellisv1.DataSet{Name: "tiny", Height: height, Width: width, TrainImages: 12, Classes: classes}
	}
	for _, test := range []struct {
		name, model string
		data        *trellisv1.DataSet
		rule, want  string
	}{
		{"right", "digits", of(28, 28, proto.Uint32(10)), "", ""},
		{"fewer labels", "digits", of(28, 28, proto.Uint32(3)), "", ""},
		{"not known", "digits", of(0, 0, nil), "", ""},
		{
			"one label too many", "digits", of(28, 28, proto.Uint32(11)),
			"data.labels", `the data set "tiny" has labels up to 10, and the model digits takes labels from 0 to 9`,
		},
		{
			"no labels", "digits", of(28, 28, proto.Uint32(0)),
			"data.labels", `the data set "tiny" has no labels, and the model digits learns from them`,
		},
		{"labels are not needed", "images", of(28, 28, proto.Uint32(0)), "", ""},
		{"labels do not matter", "images", of(28, 28, proto.Uint32(200)), "", ""},
		{
			"larger", "images", of(32, 32, nil),
			"data.image_size", `the images of the data set "tiny" have 32 x 32 pixels, and the model images takes 28 x 28`,
		},
		{
			"as many pixels", "digits", of(14, 56, proto.Uint32(10)),
			"data.image_size", `the images of the data set "tiny" have 14 x 56 pixels, and the model digits takes 28 x 28`,
		},
		{"of any size", "anything", of(32, 16, nil), "", ""},
		{"gray", "images", &trellisv1.DataSet{Name: "tiny", Height: 28, Width: 28, TrainImages: 12, Channels: 1}, "", ""},
		{
			"colored", "images", &trellisv1.DataSet{Name: "tiny", Height: 28, Width: 28, TrainImages: 12, Channels: 3},
			"data.image_channels",
			`the images of the data set "tiny" have 3 channels, and the model images takes gray images, which have one`,
		},
	} {
		split, err := models.ResolveSplit(&trellisv1.StudySpec{Model: test.model}, test.data)
		if test.want == "" {
			if err != nil || split.GetTrain() != 10 || split.GetValidation() != 2 {
				t.Errorf("%s: got %v and %v, want a split", test.name, split, err)
			}
			continue
		}
		var invalid *protovalidate.ValidationError
		if !errors.As(err, &invalid) || len(invalid.Violations) != 1 {
			t.Errorf("%s: got %v, want one violation", test.name, err)
			continue
		}
		got := invalid.Violations[0].Proto
		if got.GetRuleId() != test.rule || got.GetMessage() != test.want ||
			protovalidate.FieldPathString(got.GetField()) != "data" {
			t.Errorf("%s: got %v, want %s: %s", test.name, got, test.rule, test.want)
		}
	}
}
