// Package api has the services that clients, workers and other nodes call, one file each; the study service, which is
// long, is in several. Everything that can be wrong with a request is found here. A service then answers from a
// snapshot of the store, or puts a command into the log and answers from what the store says afterwards.
//
//	study.go     studies: list, pause, resume, cancel, delete; study_create.go, study_plan.go, study_extend.go,
//	             study_watch.go, and study_source.go for the weights that a study begins with
//	trial.go     trials, runs, configurations, and what is said about them
//	worker.go    workers, and their sessions, which it hands to the leader
//	artifact.go  uploads and downloads
//	data_set.go  what workers train on
//	cluster.go   nodes, backups
//	status.go    the code that an error of the rooms below stands for
//
// Which node answers a call is not decided here: see the routes of package coordinator.
package api
