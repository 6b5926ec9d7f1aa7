// Package export keeps a study's trials on their way to other tools: pages of a listing go to a Spool, which learns
// what there is, and from there to tables in CSV or Parquet. Packages below it write the files of other tools. Memory
// does not grow with the number of trials, and the same trials give the same bytes.
package export
