// Package lint holds the house rules that a compiler can't know, as Go tests: the floors of the packages, and how code
// and text are to be written.
//
// Its input is the whole module, as `go list` and the Go parser see it; its output is a list of offenders, each with
// file and line and what to do. It runs with every `go test ./...`.
//
//	5  cmd/*                                          the only importer of plugins, change/rowcodec, change/envelope
//	4  rest
//	3  worker   source/*
//	2  snapshot   offsets   change/rowcodec   change/envelope   sink/*   transform/*   topic/*
//	1  internal/jsontext   source   sink   transform   topic
//	0  change   config   internal/fault
//
// Invariants: imports go strictly down and only as the table in floors_test.go allows, and a package that the table
// does not name is an offender, so the drawing cannot rot; every rule has a test that shows that it can fail.
//
// It has no code outside its tests, finds no bugs, and replaces neither go vet nor gofmt. A rule that would need many
// exceptions is not a rule: better none than one that people learn to silence.
package lint
