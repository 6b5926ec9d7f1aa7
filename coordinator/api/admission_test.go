package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// Each principal has a share of its own: what others have created does not count against it.
func TestEachPrincipalHasAShareOfTheStudies(t *testing.T) {
	ann := access.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: "ann"}
	bob := access.Principal{Role: trellisv1.Role_ROLE_SUBMITTER, Name: "bob"}
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	for i, creator := range []access.Principal{ann, ann, bob} {
		spec := &trellisv1.StudySpec{Name: fmt.Sprint("s", i), Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[int](1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
			"learning_rate": trellisv1.AxisOf[float64](1),
			"max_epochs":    trellisv1.AxisOf[int](1),
		}}}}
		study := &trellisv1.Study{Name: spec.GetName(), Spec: spec, Creator: creator.Message()}
		if err := store.CreateStudy(uint64(i+1), timestamppb.Now(), study); err != nil {
			t.Fatal(err)
		}
	}
	limits := Limits{
		Studies: quota.Limit{Name: "studies", Noun: "studies", InAll: 4, Each: 2},
		Trials:  quota.Limit{Name: "trials", Noun: "trials", InAll: 50, Each: 25},
	}
	for _, test := range []struct {
		who  access.Principal
		more addition
		want string
	}{
		{ann, addition{studies: 1, trials: 1}, "limit studies-each=2"},
		{ann, addition{trials: 6}, "you already have 20 trials, and 6 more would exceed the limit trials-each=25"},
		{ann, addition{trials: 5}, ""},
		{bob, addition{studies: 1, trials: 15}, ""},
		{bob, addition{studies: 1, trials: 16}, "limit trials-each=25"},
		{access.Principal{}, addition{studies: 1, trials: 20}, ""},
		{access.Principal{}, addition{studies: 2, trials: 20}, "limit studies=4"},
		{access.Principal{}, addition{studies: 1, trials: 21}, "already has 30 trials, and 21 more would exceed the limit trials=50"},
	} {
		err := limits.admit(store.Snapshot(), test.who, test.more)
		var exceeded *quota.Exceeded
		if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &exceeded) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v asks for %+v: %v, want %q", test.who, test.more, err, test.want)
		}
	}
}
