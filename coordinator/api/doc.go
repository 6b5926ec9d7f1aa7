// Package api implements the services that clients, workers and other nodes call. Each service has one file, except for
// the study service, which has several. The services check everything that can be wrong with a request. Then they
// respond from a snapshot of the store, or append a command to the log and respond from the store afterwards.
//
//	study.go     studies: list, pause, resume, cancel, delete; study_create.go, study_plan.go, study_extend.go,
//	             study_watch.go, and study_source.go for the pretrained weights of a study
//	trial.go     trials, runs, configurations, reports and suggestions
//	worker.go    workers, and their sessions, which the leader serves
//	artifact.go  uploads and downloads
//	data_set.go  the data sets that workers train on
//	cluster.go   nodes, backups
//	status.go    the API's codes for errors of lower packages
//
// Package coordinator decides which node serves a call: see its routes.
package api
