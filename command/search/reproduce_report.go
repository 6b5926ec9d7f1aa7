package search

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/paper"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// reproductionReport is the report of a reproduction as far as it has come. The coordinator gets it anew whenever it has more, for
// its web page. The reproduction itself does not depend on that.
type reproductionReport struct {
	*trellisv1.PaperReport
	env    *cli.Environment
	client *client.Client
	// material and analyzer are nil if the reproduction has no analysis.
	material *reproduction.Material
	analyzer *reproduction.Analyzer
	// digest is that of the data set whose test images the analysis looks at.
	digest string
	// address is how others ask for its studies: flags, or empty.
	address string
	// pictures are those that the coordinator has, by figure.
	pictures map[uint32]*trellisv1.PaperPicture
	// added are the studies of which everything is here that the analysis needs.
	added map[string]bool
	// finished has the create_index of each study of the complete report that the coordinator had before, nil if it had none.
	finished map[string]uint64
	// warned says that the user knows that the coordinator did not get it.
	warned bool
	// sending is held while it is sent. sent is what was sent last, nil if nothing was.
	sending sync.Mutex
	sent    *trellisv1.PutPaperReportRequest
}

// renewal is how often the coordinator gets the report at least: without it, the report is lost. It is sent twice as
// often, as a call may fail.
const renewal = 2 * time.Minute

// newReproductionReport returns the report of a reproduction none of whose stages has begun.
func newReproductionReport(
	env *cli.Environment, c *client.Client, r *trellisv1.Reproduction, data *dataset.Data, options reproduceOptions,
) *reproductionReport {
	report := &reproductionReport{
		PaperReport: &trellisv1.PaperReport{
			Name: options.name, Title: r.GetTitle(), State: trellisv1.PaperState_PAPER_STATE_RUNNING,
			Summary: "The paper's figures and numbers next to ours: what was trained, with which command, and how much " +
				"they differ.",
			Environment: environment(env.Version), Renewal: durationpb.New(renewal),
		},
		env: env, client: c, pictures: map[uint32]*trellisv1.PaperPicture{}, added: map[string]bool{},
	}
	for _, stage := range r.GetStages() {
		report.Stages = append(report.Stages, &trellisv1.PaperStage{
			Study: stage.GetStudy().GetName(), Model: stage.GetStudy().GetModel(), After: reproduction.DependsOn(stage),
		})
	}
	if options.remote {
		report.address = "--coordinator " + options.place.Path
	}
	if r.GetAnalysis() != nil {
		m := reproduction.NewMaterial(r)
		m.Test, m.Channels, m.Height, m.Width = data.Test, data.Channels, data.Height, data.Width
		m.Corrupt = func(images []float32, noise float64, seed uint32) []float32 {
			return trainer.Corrupt(images, max(1, data.Channels)*data.Height*data.Width, noise, seed)
		}
		m.Command, m.Address = options.command, report.address
		report.digest, report.material, report.analyzer = data.Digest, m, reproduction.NewAnalyzer(m, report.note)
	}
	return report
}

func (r *reproductionReport) note(format string, args ...any) {
	fmt.Fprintf(r.env.Err, format+".\n", args...)
}

// lookUp asks the coordinator whether it has a complete report of that name already.
func (r *reproductionReport) lookUp(ctx context.Context) {
	before, err := client.Call(ctx, client.CallTimeout, r.client.GetPaperReport,
		&trellisv1.GetPaperReportRequest{Report: r.Name})
	if err != nil || before.GetReport().GetState() != trellisv1.PaperState_PAPER_STATE_COMPLETED {
		return
	}
	r.finished = map[string]uint64{}
	for _, stage := range before.GetReport().GetStages() {
		r.finished[stage.GetStudy()] = stage.GetCreateIndex()
	}
}

// keeps says that the complete report from before says more than this one so far: all that has begun is in it.
func (r *reproductionReport) keeps() bool {
	if r.finished == nil || r.State == trellisv1.PaperState_PAPER_STATE_COMPLETED {
		return false
	}
	for _, stage := range r.Stages {
		if stage.CreateIndex != 0 && stage.CreateIndex != r.finished[stage.Study] {
			return false
		}
	}
	return true
}

// shown says what the web page has until this report is complete.
func (r *reproductionReport) shown() string {
	if r.keeps() {
		return "the complete report from before until this one is complete or has begun a study anew"
	}
	return "the report as it comes"
}

// begun notes that a stage's study is there.
func (r *reproductionReport) begun(ctx context.Context, study *trellisv1.Study) {
	if stage := r.stage(study); stage.GetCreateIndex() != study.GetCreateIndex() {
		stage.CreateIndex = study.GetCreateIndex()
		r.put(ctx)
	}
}

// checkData checks that a study of the analysis is trained on the data set whose test images are here: the cluster may
// have another of that name, and so may a study that has been there already.
func (r *reproductionReport) checkData(study *trellisv1.Study) error {
	its := study.GetDataSet()
	if r.material == nil || its.GetDigest() == r.digest || !r.material.Uses(study.GetName()) {
		return nil
	}
	return fmt.Errorf("study %s is trained on a data set %q with the digest %s, but the one of that name on this machine has the "+
		"digest %s: the analysis needs the same test images; put the study's data set here, see --data-sets, or give the study "+
		"another name", study.GetName(), its.GetName(), its.GetDigest(), r.digest)
}

func (r *reproductionReport) stage(study *trellisv1.Study) *trellisv1.PaperStage {
	for _, stage := range r.Stages {
		if stage.GetStudy() == study.GetName() {
			return stage
		}
	}
	return nil
}

// ended adds what a study has given that has ended, and what follows from it within seconds. What is wrong with that is told when
// all have ended.
func (r *reproductionReport) ended(ctx context.Context, study *trellisv1.Study) {
	if err := r.add(ctx, study); err == nil && r.analyzer != nil {
		_ = r.analyze(ctx, false)
	}
	r.put(ctx)
}

// add adds what a study has given that has ended, once.
func (r *reproductionReport) add(ctx context.Context, study *trellisv1.Study) error {
	if r.added[study.GetName()] {
		return nil
	}
	if err := describeStage(ctx, r.client, r.stage(study), study, r.address); err != nil || r.material == nil {
		return err
	}
	if err := gather(ctx, r.client, r.material, study); err != nil {
		return fmt.Errorf("fetch the trained models: %w", err)
	}
	r.added[study.GetName()] = true
	return nil
}

// analyze takes the steps of the analysis whose material is there: those that are short, or all.
func (r *reproductionReport) analyze(ctx context.Context, all bool) error {
	for {
		more, err := r.analyzer.Next(ctx, all)
		if err != nil || !more {
			return err
		}
		if all {
			r.put(ctx)
		}
	}
}

// finish adds what is missing when all studies have ended.
func (r *reproductionReport) finish(ctx context.Context, studies map[string]*trellisv1.Study) error {
	for _, stage := range r.Stages {
		if err := r.add(ctx, studies[stage.GetStudy()]); err != nil {
			return err
		}
	}
	if err := r.material.Check(); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	if err := r.analyze(ctx, true); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	return nil
}

// end notes that the reproduction is complete, or why it has stopped, even if ctx has ended.
func (r *reproductionReport) end(ctx context.Context, err error) {
	if err == nil {
		r.State = trellisv1.PaperState_PAPER_STATE_COMPLETED
		r.put(ctx)
		return
	}
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	// The user is told of err. If the coordinator is gone, that says so.
	r.State, r.warned = trellisv1.PaperState_PAPER_STATE_STOPPED, true
	r.put(ctx)
}

// put gives the coordinator the report as it is now, unless it has a better one. That it can't is told once.
func (r *reproductionReport) put(ctx context.Context) {
	// The report in the folder has them too.
	if r.analyzer != nil {
		r.Sections = reproduction.Sections(r.material, r.analyzer.Findings())
	}
	if r.keeps() {
		return
	}
	err := r.send(ctx)
	if status.Code(err) == codes.FailedPrecondition && len(r.pictures) > 0 {
		// It has forgotten the pictures: somebody has deleted the report, or restored a backup.
		clear(r.pictures)
		err = r.send(ctx)
	}
	if err != nil && !r.warned && ctx.Err() == nil {
		r.warned = true
		r.note("The coordinator could not take the report for its web page: %s. The reproduction goes on",
			status.Convert(err).Message())
	}
}

func (r *reproductionReport) send(ctx context.Context) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	if err := r.upload(ctx); err != nil {
		return err
	}
	r.sent = &trellisv1.PutPaperReportRequest{Report: proto.CloneOf(r.PaperReport)}
	_, err := client.Call(ctx, client.CallTimeout, r.client.PutPaperReport, r.sent)
	return err
}

// renew sends what was sent last again and again, until stop is called: so the coordinator knows that somebody is still
// here.
func (r *reproductionReport) renew(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(renewal / 2)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
				r.sendAgain(ctx)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// sendAgain sends what was sent last. That the coordinator does not get it is told of what is new.
func (r *reproductionReport) sendAgain(ctx context.Context) {
	r.sending.Lock()
	defer r.sending.Unlock()
	if r.sent == nil {
		return
	}
	_, err := client.Call(ctx, client.CallTimeout, r.client.PutPaperReport, r.sent)
	if status.Code(err) == codes.FailedPrecondition {
		r.sent = nil // It has forgotten the pictures: see put.
	}
}

// upload uploads the pictures that the coordinator does not have, and names them in the report.
func (r *reproductionReport) upload(ctx context.Context) error {
	for _, section := range r.Sections {
		for _, figure := range section.GetFigures() {
			drawn, ok := r.analyzer.Findings().Pictures[figure.GetNumber()]
			if !ok {
				continue
			}
			if r.pictures[figure.GetNumber()] == nil {
				picture, err := r.uploadPicture(ctx, drawn)
				if err != nil {
					return err
				}
				r.pictures[figure.GetNumber()] = picture
			}
			figure.Picture = r.pictures[figure.GetNumber()]
		}
	}
	return nil
}

// uploadPicture uploads the SVG, which is sharp at any size, unless it is too large.
func (r *reproductionReport) uploadPicture(ctx context.Context, drawn paper.Picture) (*trellisv1.PaperPicture, error) {
	content := drawn.SVG
	if len(content) > paper.MaxPictureBytes {
		content = drawn.PNG
	}
	sum := sha256.Sum256(content)
	picture := &trellisv1.PaperPicture{Sha256: hex.EncodeToString(sum[:]), Size: uint64(len(content))}
	_, err := r.client.EnsureArtifact(ctx, picture.GetSha256(), picture.GetSize(), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	return picture, err
}

// notInNames matches what names of reports don't have.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// reportName is the name of a reproduction's report at the coordinator: that of its file.
func reportName(quick bool, args []string) string {
	file := "reproduce.yaml"
	switch {
	case quick:
		file = "reproduce-quick.yaml"
	case len(args) > 0:
		file = args[0]
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	name = strings.TrimLeft(notInNames.ReplaceAllString(name, "-"), "._-")
	name = name[:min(len(name), 63)]
	if paper.CheckName(name) != nil {
		return "reproduction"
	}
	return name
}

// pageOf returns where a report is shown: on the web page of the coordinator at an address, if it has one that can be opened
// here. That of another machine may be for its own users only.
func pageOf(ctx context.Context, c *client.Client, report, address string) string {
	answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil || answer.GetStatus().GetWeb() == "" {
		return ""
	}
	link, err := url.Parse(answer.GetStatus().GetWeb())
	host, _, notAddress := net.SplitHostPort(address)
	if err != nil || notAddress == nil && isLoopback(link.Hostname()) && !isLoopback(host) {
		return ""
	}
	return answer.GetStatus().GetWeb() + "/reports/" + report
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
