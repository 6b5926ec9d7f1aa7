package forecast

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// newStore has studies that nobody has trained yet.
func newStore(t *testing.T, names ...string) *results.Store {
	t.Helper()
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		spec := grid.WithDefaults(&trellisv1.StudySpec{
			Name: name, Model: "synthetic",
			Synthetic: &trellisv1.Synthetic{EpochTime: durationpb.New(3 * time.Second)},
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim":    trellisv1.AxisOf[int](4),
				"learning_rate": trellisv1.AxisOf[float64](1e-3),
				"max_epochs":    trellisv1.AxisOf[int](10),
			}}},
		})
		study := &trellisv1.Study{Name: name, Spec: spec, Numerics: "test"}
		if err := store.CreateStudy(uint64(i+1), timestamppb.Now(), study); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// A forecast is kept for a while, but not when the study is paused, resumed or extended meanwhile: another is made at
// once.
func TestAForecastIsOfTheStudyAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, "slow")
		maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
		forecast := func() *trellisv1.Forecast {
			t.Helper()
			snapshot := store.Snapshot()
			study, err := snapshot.Study(nil, "slow")
			if err != nil {
				t.Fatal(err)
			}
			if study.GetForecast() != nil {
				t.Error("the stored study has a forecast")
			}
			return maker.On(snapshot, study).GetForecast()
		}
		first := forecast()
		if first == nil {
			t.Fatal("there is no forecast")
		}
		time.Sleep(Life - 1)
		if forecast() != first {
			t.Errorf("another forecast is made within %v", Life)
		}
		time.Sleep(time.Nanosecond)
		second := forecast()
		if second == first {
			t.Errorf("the same forecast after %v", Life)
		}
		synctest.Wait()
		maker.making <- struct{}{} // That of another study.
		if err := store.SetStudyState(2, timestamppb.Now(), "slow",
			trellisv1.StudyState_STUDY_STATE_PAUSED); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { <-maker.making })
		if got := forecast(); got == second || got == nil {
			t.Errorf("a paused study has the forecast %v, and had %v when it ran", got, second)
		}
	})
}

// listed is a list of all studies with their forecasts, and how long it has waited for these.
func listed(t *testing.T, store *results.Store, maker *Maker) (studies []*trellisv1.Study, waited time.Duration) {
	t.Helper()
	response, err := store.Snapshot().ListStudies(&trellisv1.ListStudiesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	maker.OnAll(store.Snapshot(), response.Studies)
	return response.Studies, time.Since(began)
}

// A list waits for forecasts that it lacks, also if they are being made, but not for long. It doesn't wait for those that it has
// but that can't be used any more: the next list has others.
func TestListsDoNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, "first", "second")
		maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
		list := func() (forecasts []*trellisv1.Forecast, waited time.Duration) {
			t.Helper()
			studies, waited := listed(t, store, maker)
			synctest.Wait()
			for _, study := range studies {
				forecasts = append(forecasts, study.Forecast)
			}
			return forecasts, waited
		}
		maker.making <- struct{}{} // A forecast that takes long.
		if got, waited := list(); got[0] != nil || got[1] != nil || waited != listPatience {
			t.Fatalf("forecasts %v after %v, want none after %v", got, waited, listPatience)
		}
		<-maker.making
		synctest.Wait()
		first, waited := list()
		if first[0] == nil || first[1] == nil || waited != 0 {
			t.Fatalf("forecasts %v after %v, want two at once", first, waited)
		}
		time.Sleep(Life)
		maker.making <- struct{}{}
		if got, waited := list(); got[0] != first[0] || got[1] != first[1] || waited != 0 {
			t.Fatalf("forecasts %v after %v, want %v at once", got, waited, first)
		}
		<-maker.making
		time.Sleep(time.Millisecond)
		second, _ := list()
		if second[0] == first[0] || second[1] == first[1] {
			t.Fatal("earlier forecasts, although others have been made since")
		}
		time.Sleep(outdated)
		maker.making <- struct{}{}
		if _, waited := list(); waited != listPatience {
			t.Fatalf("waited %v for forecasts that are outdated, want %v", waited, listPatience)
		}
		<-maker.making
	})
}

// A list doesn't wait for forecasts that would hardly be made in time.
func TestListsDoNotWaitInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, "slow", "first", "second")
		maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
		list := func() (waited time.Duration) {
			t.Helper()
			_, waited = listed(t, store, maker)
			return waited
		}
		slow, err := store.Snapshot().Study(nil, "slow")
		if err != nil {
			t.Fatal(err)
		}
		forecast := func(took time.Duration) {
			maker.keep(slow, &made{
				study: slow.Name, at: time.Now(), took: took, state: slow.State, runs: slow.Progress.Runs,
			})
		}
		maker.making <- struct{}{} // The other two forecasts take long.
		forecast(listPatience/2 + 1)
		if waited := list(); waited != 0 {
			t.Errorf("waited %v for two forecasts that take longer together", waited)
		}
		// They still are being made.
		forecast(listPatience / 4)
		if waited := list(); waited != listPatience {
			t.Errorf("waited %v for two and two forecasts that may be made in time", waited)
		}
		forecast(listPatience/4 + 1)
		if waited := list(); waited != 0 {
			t.Errorf("waited %v for two forecasts after two of another list", waited)
		}
		<-maker.making
		synctest.Wait()
		if waited := list(); waited != 0 || maker.due != 0 {
			t.Errorf("waited %v, and %d forecasts are due", waited, maker.due)
		}
	})
}

// A forecast is kept as long as others can be used: a long list, of which the last ones are made late, has all in the
// end. But none is shown that is older than oldest, whatever they take together.
func TestForecastsAreKeptUntilAllAreMade(t *testing.T) {
	for _, test := range []struct {
		name     string
		took     time.Duration
		late     time.Duration
		tooLate  time.Duration
		leftover int
	}{
		{"short", 10 * time.Second, 200 * time.Second, 2*200*time.Second + time.Minute, 1},
		{"long", time.Hour, oldest / 2, oldest, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
				keep := func(index uint64, took time.Duration) {
					maker.keep(&trellisv1.Study{CreateIndex: index}, &made{
						at: time.Now(), took: took, state: trellisv1.StudyState_STUDY_STATE_RUNNING,
					})
				}
				keep(1, time.Millisecond)
				keep(2, test.took-time.Millisecond)
				if life := maker.life(); life != test.late {
					t.Errorf("forecasts are reused for %v, want %v", life, test.late)
				}
				time.Sleep(test.late)
				keep(3, 0)
				if len(maker.made) != 3 {
					t.Errorf("%d forecasts are kept, want all 3", len(maker.made))
				}
				time.Sleep(test.tooLate - test.late)
				keep(3, 0)
				if len(maker.made) != 3 {
					t.Errorf("%d forecasts are kept after %v, want all 3", len(maker.made), test.tooLate)
				}
				time.Sleep(time.Nanosecond)
				keep(3, 0)
				if len(maker.made) != 1 {
					t.Errorf("%d forecasts are kept, want the last one", len(maker.made))
				}
			})
		})
	}
}

// What it took to forecast a study counts no longer than the study runs: others are forecast as often as if it had never
// been. Until then it makes lists use forecasts for longer, but not a study that is asked for alone.
func TestStudiesThatHaveEndedAreForgotten(t *testing.T) {
	for _, end := range []string{"cancel", "pause", "delete"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newStore(t, "large", "small")
				maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
				study := func(name string) *trellisv1.Study {
					t.Helper()
					study, err := store.Snapshot().Study(nil, name)
					if err != nil {
						t.Fatal(err)
					}
					return study
				}
				list := func() {
					t.Helper()
					response, err := store.Snapshot().ListStudies(&trellisv1.ListStudiesRequest{})
					if err != nil {
						t.Fatal(err)
					}
					maker.OnAll(store.Snapshot(), response.Studies)
					synctest.Wait()
				}
				large := study("large")
				maker.keep(large, &made{
					study: large.Name, at: time.Now(), took: time.Hour, state: large.State, runs: large.Progress.Runs,
				})
				first := maker.On(store.Snapshot(), study("small")).GetForecast()
				time.Sleep(Life)
				list()
				if got := maker.life(); got != oldest/2 {
					t.Errorf("while it runs, lists use forecasts for %v, want %v", got, oldest/2)
				}
				if maker.On(store.Snapshot(), study("small")).GetForecast() == first {
					t.Error("a study asked for alone has an old forecast, since another takes long")
				}
				var err error
				switch end {
				case "cancel":
					err = store.SetStudyState(3, timestamppb.Now(), "large", trellisv1.StudyState_STUDY_STATE_CANCELED)
				case "pause":
					err = store.SetStudyState(3, timestamppb.Now(), "large", trellisv1.StudyState_STUDY_STATE_PAUSED)
				case "delete":
					if err = store.SetStudyState(3, timestamppb.Now(), "large",
						trellisv1.StudyState_STUDY_STATE_CANCELED); err == nil {
						err = store.DeleteStudy(4, "large", 0, 0)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(Life)
				list()
				if got := maker.life(); got != Life {
					t.Errorf("lists use forecasts for %v, want %v", got, Life)
				}
			})
		})
	}
}

// A list does not wait for forecasts that are not being made: those of another list are renewed, which lacks none.
func TestListsDoNotWaitForOthersRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, "first", "second")
		maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
		snapshot := store.Snapshot()
		stored, err := snapshot.Studies(nil)
		if err != nil {
			t.Fatal(err)
		}
		first, second := stored[0], stored[1]
		list := func(study *trellisv1.Study) (waited time.Duration) {
			began := time.Now()
			maker.OnAll(snapshot, []*trellisv1.Study{study})
			return time.Since(began)
		}
		list(first)
		synctest.Wait()
		time.Sleep(Life)
		maker.making <- struct{}{} // Its renewal takes long.
		if waited := list(first); waited != 0 {
			t.Errorf("waited %v for a forecast that there is", waited)
		}
		if waited := list(second); waited != 0 {
			t.Errorf("waited %v for a forecast that is not being made", waited)
		}
		<-maker.making
		time.Sleep(time.Second)
		maker.making <- struct{}{}
		go list(second)
		synctest.Wait()
		go func() {
			time.Sleep(listPatience / 2)
			<-maker.making
		}()
		if waited := list(second); waited != listPatience/2 {
			t.Errorf("waited %v for a forecast that another list has made after %v", waited, listPatience/2)
		}
		time.Sleep(time.Second)
	})
}
