// Package chaos has tests only: they run the trellis binary as processes, do to them what happens to processes in the
// end, and check against a record of their own that nothing that was acknowledged is lost and nothing is counted twice.
//
//   - TestKills kills coordinator and workers at random times; TestLeaderKills the leader of three coordinators.
//     Both are over TLS. TestRotatedCertificates replaces certificates under load. TestClusterFromNothing makes a cluster
//     with the commands in docs/cluster.md, and replaces certificates and a token.
//   - TestSyscallKills kills a coordinator at the system calls that change its data directory, one after the other.
//   - TestDiskErrors, TestNoRoomForABackup and TestStalledDisk answer those calls with errors or late, TestFullDisk
//     fills a real disk.
//   - TestStoppedWorker stops a worker for longer than its lease and lets it go on.
//   - TestPartitions cuts the network between three coordinators in network namespaces.
//   - TestOneRunForManyTrials and TestEarlyStopCollapse train trials that share a run, and each of them by itself.
//   - TestResubmitted and TestExtended count the epochs that workers train for what is known already.
//   - TestDigestIsTheSame trains a study in all circumstances, and compares the digests.
//   - TestThroughput and TestManyWorkers measure.
//
// An ordinary run has short versions; the build tag soak has the long ones:
//
//	go test ./command/chaos
//	go test -tags soak -timeout 3h ./command/chaos
//
// Random tests log their seed; TRELLIS_CHAOS_SEED repeats it. TRELLIS_CHAOS_KILLS sets how many kills there are, and
// TRELLIS_CHAOS_BINARY names a binary to test instead of one that is built. A test that fails keeps the logs and data
// directories of its processes and says where; TRELLIS_CHAOS_KEEP=1 keeps those of a test that passes too.
package chaos
