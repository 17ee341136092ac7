// Command testreport runs the whole suite of Tailrace with servers of its own and says in one line how it went;
// scripts/test builds and starts it.
//
// In comes the module it is started in; out go the progress of each package, the output of each failed test, the servers
// that could not be had, build/cases.txt and, as the last line, the totals. It exits with 1 if anything failed.
//
//	servers up -> gofmt, vet -> go test -race -tags invariants -> go test -run Alloc -> campaigns -> cases.txt -> N passed, N failed, N skipped
//
//	build/cases.txt     1 pass        a test whose name holds case1 (or case01) passed and none failed
//	                    2 fail        one failed
//	                    3 not run     there are tests, and all of them were skipped
//	                    5 no test     no name holds the case
//
// A test with subtests is counted through them; it counts itself only when it fails while none of them does. A package
// that cannot be built is one failure, and so is a check or a campaign that fails. A skip whose message starts with "not
// run: " is listed with its reason.
//
// It deliberately repeats nothing: a test that fails is never run again in the hope of a better result.
package main
