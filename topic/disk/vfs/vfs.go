// Package vfs is the one door from the embedded log to files.
//
// The log calls an [FS] and the [File] values that it opens; [OS] is the real one, package crashfs has one in memory
// that loses power and fails on demand.
//
// Names are slash-separated paths. A file's content is durable after Sync, the entry of a new, renamed or removed file
// after SyncDir of its directory; what a power cut leaves of anything else is unknown.
//
// Invariant: nothing in the log touches a file but through this interface, so that every failure can be tested.
//
// It is not a general file system: no permissions, links, times or sequential reads.
package vfs

import "io"

// An FS is a file system. All methods may be called concurrently. Errors are those of package os: fs.ErrNotExist,
// syscall.ENOSPC and so on in the chain.
type FS interface {
	// Open opens a file to read and write, with the flags os.O_CREATE, os.O_EXCL and os.O_TRUNC of package os.
	Open(name string, flag int) (File, error)
	// Mkdir makes a directory and its parents; it may exist.
	Mkdir(dir string) error
	// Remove removes a file or an empty directory. Files that are open can still be read.
	Remove(name string) error
	// Rename gives a file a new name, in place of one that may have had it.
	Rename(from, to string) error
	// List returns the sorted names in a directory.
	List(dir string) ([]string, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// Lock takes the lock file, which must be free, until the lock is closed or the process is gone. If another holds
	// it, the error is a *Locked.
	Lock(name string) (io.Closer, error)
}

// A File is an open file. ReadAt and WriteAt may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes content and size durable. After an error it is unknown which of it is, and no later Sync can tell.
	Sync() error
}

// Locked says that a lock is held by someone else.
type Locked struct {
	Name string // of the lock file
	PID  string // the process that holds it, as it wrote it there; may be empty
}

// Error implements error.
func (e *Locked) Error() string {
	if e.PID == "" {
		return e.Name + " is locked by another process"
	}
	return e.Name + " is locked by process " + e.PID
}
