package answer

import (
	"context"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// writeSummaryOf is a report in a few lines: what follows a study's best when it has ended. kept says that commands find
// the study later. If they don't, it has what they would say.
func writeSummaryOf(out io.Writer, r report, kept bool) error {
	var parts []string
	for _, kind := range kinds(r) {
		if kind.trials > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", kind.trials, kind.name))
		}
	}
	lines := []string{
		fmt.Sprintf("%s%s: %s.", output.Sentence(output.Count(r.GetStudy().GetProgress().GetTrials(),
			"trial")),
			describeSettling(r.GetStudy()), output.Enumerate(parts)),
		fmt.Sprintf("%s trained in %s of worker time.", output.Sentence(output.Count(r.GetEpochsTrained(), "epoch")),
			output.ShortSeconds(r.GetSecondsTrained())),
	}
	if saved := describeSaved(r); saved != "" {
		lines[1] += " Saved: " + saved + "."
	}
	if r.GetPruned() > 0 {
		lines = append(lines, output.Sentence(describeExactness(r, kept)))
	}
	if missing := DescribeMissingWeights(r); missing != "" {
		lines = append(lines, output.Sentence(missing))
	}
	if audits := describe.Audits(r); audits != "" {
		lines = append(lines, "Audit: "+audits+".")
		if r.GetAudits().GetDisagreementsTotal() > 0 && kept {
			lines = append(lines, "See who was wrong: trellis report "+r.GetStudy().GetName())
		}
	}
	lines = append(lines, describe.Refuted(r.GetStudy())...)
	if r.GetFailed() > 0 && !isCanceled(r.GetStudy()) && kept {
		lines = append(lines, fmt.Sprintf("Retry the failed runs: trellis retry %s", r.GetStudy().GetName()))
	}
	lines = append(lines, "Digest: "+describeDigest(r))
	if _, err := fmt.Fprintln(out, strings.Join(lines, "\n")); err != nil || kept {
		return err
	}
	if err := describe.WriteDisagreements(out, r); err != nil {
		return err
	}
	return WriteFailures(out, r, kept)
}

// WriteSummary writes how the trials of a study got their results and what that took, with an empty line before it.
// A coordinator that gives no reports is an older one. kept says that commands find the study later.
func WriteSummary(ctx context.Context, c *client.Client, out io.Writer, study string, kept bool) error {
	response, err := client.Call(ctx, client.CallTimeout, c.GetReport, &trellisv1.GetReportRequest{Study: study})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintln(out)
	return writeSummaryOf(out, response.GetReport(), kept)
}
