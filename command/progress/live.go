package progress

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/progress"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"

	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// liveView shows a study's progress in place, on a terminal.
type liveView struct {
	program *tea.Program
	done    chan error
}

var _ client.ProgressView = (*liveView)(nil)

// newLiveView takes over the lines below the cursor. It reads no keys, so that Ctrl-C stays a signal.
func newLiveView(terminal *os.File) *liveView {
	v := &liveView{
		program: tea.NewProgram(newScreen(time.Now), tea.WithOutput(terminal), tea.WithInput(nil),
			tea.WithoutSignalHandler()),
		done: make(chan error, 1),
	}
	go func() {
		_, err := v.program.Run()
		v.done <- err
	}()
	return v
}

func (v *liveView) Update(response *trellisv1.WatchStudyResponse) { v.program.Send(response) }

// stagesMessage tells the screen how the stages stand.
type stagesMessage []stage

func (v *liveView) showStages(stages []stage, _ string) { v.program.Send(stagesMessage(stages)) }

// Write puts a notice above the screen, where it scrolls away.
func (v *liveView) Write(notice []byte) (int, error) {
	v.program.Println(strings.TrimSuffix(string(notice), "\n"))
	return len(notice), nil
}

func (v *liveView) Close() error {
	v.program.Send(tea.QuitMsg{})
	if err := <-v.done; err != nil {
		return fmt.Errorf("show progress: %w", err)
	}
	return nil
}

// screen is the bubbletea model: what is on the terminal.
type screen struct {
	board         *board
	axes          describe.Axes
	bar           progress.Model
	width, height int
	// stages are those that the study is one of, nil if it is none.
	stages []stage
}

var _ tea.Model = (*screen)(nil)

// The lines of a screen that are no rows of its table, and the size of a terminal that does not tell.
const (
	screenFrame   = 7
	defaultWidth  = 80
	defaultHeight = 24
)

func newScreen(now func() time.Time) *screen {
	return &screen{
		board: newBoard(now), bar: progress.New(progress.WithDefaultBlend()), width: defaultWidth,
		height: defaultHeight,
	}
}

func (s *screen) Init() tea.Cmd { return nil }

func (s *screen) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case *trellisv1.WatchStudyResponse:
		return s, s.show(message)
	case stagesMessage:
		s.stages = message
	case tea.WindowSizeMsg:
		s.width, s.height = message.Width, message.Height
	}
	return s, nil
}

// show takes in what a watch has sent, and puts failures above the screen, where they stay. Those from before the watch
// began are no news.
func (s *screen) show(response *trellisv1.WatchStudyResponse) tea.Cmd {
	s.axes = describe.VariedAxes(response.GetStudy().GetSpec())
	if s.board.study == nil {
		s.board.apply(response, nil)
		return nil
	}
	var failed failures
	var lines []string
	before := s.board.study
	s.board.apply(response, func(before, after *trellisv1.Run) {
		lines = append(lines, failed.add(before, after, s.axes)...)
	})
	lines = append(lines, failed.close()...)
	if lines = append(lines, untouchedFailed(before, s.board.study)...); len(lines) == 0 {
		return nil
	}
	return tea.Println(strings.Join(lines, "\n"))
}

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	cell  = lipgloss.NewStyle().PaddingRight(2)
)

func (s *screen) View() tea.View { return tea.NewView(s.render()) }

// render draws the study, its bar, the runs in training and the best trial so far.
func (s *screen) render() string {
	if s.board.study == nil {
		return "connecting..."
	}
	var lines []string
	add := func(format string, values ...any) {
		lines = append(lines, lipgloss.NewStyle().MaxWidth(s.width).Render(fmt.Sprintf(format, values...)))
	}
	study, progress := s.board.study, s.board.study.GetProgress()
	for i := range s.stages {
		if s.stages[i].Study == study.GetName() {
			s.stages[i].study = study // This is newer.
		}
	}
	for _, line := range describeStages(s.stages) {
		add("%s", faint.Render(line))
	}
	add("%s  %s  %s", bold.Render(study.GetName()), describe.StudyState(study), faint.Render(describe.Progress(study)))
	s.bar.SetWidth(min(s.width/2, 50))
	epochs, best := fmt.Sprintf("%d of at most", progress.GetEpochs()), "best so far:"
	if lifecycle.StudyEnded(study.GetState()) {
		epochs, best = "ended after", "best:"
	}
	add("%s  %s %s%s", s.bar.ViewAs(s.board.done()), epochs,
		output.Count(progress.GetEpochs()+progress.GetEpochsLeft(), "epoch"),
		s.board.describeLeft())
	if waits := describe.WaitingFor(study); waits != "" {
		add("%s %s", bold.Render("waits for"), waits)
	}
	if due := progress.GetAuditsDue(); due > 0 && !lifecycle.StudyEnded(study.GetState()) {
		add("%s %s to train again, to compare the losses", bold.Render("audit:"), output.Count(due, "run"))
	}
	if runs := s.training(); len(runs) > 0 {
		lines = append(lines, s.table(runs))
	}
	if s.board.best != nil && !hasDiverged(s.board.best) {
		add("%s %s", bold.Render(best), s.board.describeBest(s.axes))
	}
	// The cursor rests on a line of its own, which is wiped when the program ends.
	return strings.Join(lines, "\n") + "\n"
}

// training returns the runs in training, those that stand first in the grid first.
func (s *screen) training() []*trellisv1.Run {
	return slices.SortedFunc(maps.Values(s.board.training), func(a, b *trellisv1.Run) int {
		return cmp.Compare(a.GetFirstTrial(), b.GetFirstTrial())
	})
}

// table draws as many runs as fit on the screen.
func (s *screen) table(runs []*trellisv1.Run) string {
	fits := max(s.height-screenFrame-len(s.stages), 1)
	metrics := s.board.metricNames(runs)
	t := table.New().Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).
		BorderRight(false).BorderHeader(false).BorderColumn(false).BorderRow(false).Width(0).Wrap(false).
		StyleFunc(func(row, _ int) lipgloss.Style {
			if row == table.HeaderRow {
				return cell.Faint(true)
			}
			return cell
		}).
		Headers(slices.Concat([]string{"run", "parameters", "worker", "epoch"}, s.board.objectiveHeaders(), metrics)...)
	for _, run := range runs[:min(len(runs), fits)] {
		loss, lowest := "", ""
		if run.GetEpochs() > 0 {
			loss = output.ShortLoss(run.GetValidationLoss())
			if !s.board.objective().IsDefault() {
				loss = output.Optional(run.Metric, output.ShortLoss)
			}
			lowest = output.Optional(bestOf(run), output.ShortLoss)
		}
		row := []string{
			runName(run), describe.Parameters(run.GetParameters(), s.axes), run.GetWorker(),
			fmt.Sprintf("%d/%d", run.GetEpochs(), run.GetParameters().GetMaxEpochs()), loss, lowest,
		}
		for _, name := range metrics {
			row = append(row, output.Optional(describe.MetricIn(s.board.metrics[run.GetId()], name), output.ShortLoss))
		}
		t.Row(row...)
	}
	text := lipgloss.NewStyle().MaxWidth(s.width).Render(t.Render())
	if more := len(runs) - fits; more > 0 {
		text += "\n" + faint.Render(fmt.Sprintf("and %s more", output.Count(uint64(more), "run")))
	}
	return text
}
