// Package mlflow writes trials as a file store of MLflow: an experiment for the study, and a run for each trial, with
// parameters, metrics by epoch, tags, and the files that the winner is given.
package mlflow
