// Package fault tells permanent failures from those that a retry may cure.
//
// An error is retryable unless something in its chain was made by [Permanent] or [Permanentf]. A permanent error
// carries a reason code in capitals (SLOT_LOST, LOG_CORRUPT ...) that the REST API, the metrics and the documentation
// share, and a remedy: the sentence that tells the operator what to do.
//
// The worker is the only one who decides by it: retryable errors are tried again with backoff, permanent ones end in
// the state FAILED. Everyone else only returns errors.
//
// Invariant: unknown means retry. Nothing here logs, and no message may contain a secret (Invariant 9).
//
// It does not wrap errors to add stack traces, and it has no error classes besides the two.
package fault

import (
	"errors"
	"fmt"
)

// Error is a permanent failure.
type Error struct {
	Code   string // reason code: capitals and underscores
	Remedy string // one sentence: what the operator does now; may be empty
	Err    error  // what happened
}

// Error returns "CODE: what happened; remedy".
func (e *Error) Error() string {
	s := e.Code + ": " + e.Err.Error()
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Permanent marks err as one that no retry cures. A nil err gives nil.
func Permanent(code, remedy string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Remedy: remedy, Err: err}
}

// Permanentf is Permanent around fmt.Errorf.
func Permanentf(code, remedy, format string, args ...any) error {
	return Permanent(code, remedy, fmt.Errorf(format, args...))
}

// IsPermanent reports whether err is or wraps a permanent failure.
func IsPermanent(err error) bool { return Code(err) != "" }

// Code returns the reason code of a permanent failure, "" for any other error.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
