package vfs

import (
	"io"
	"os"
	"syscall"
)

// ReadOnly is the operating system's file system for one who only looks: files open also where they may not be written,
// as in a mounted copy, and whatever would change something fails with syscall.EROFS.
type ReadOnly struct{}

var _ FS = ReadOnly{}

// Open implements FS, to read only.
func (ReadOnly) Open(name string, flag int) (File, error) {
	if flag != 0 {
		return nil, refuse("open", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// List implements FS.
func (ReadOnly) List(dir string) ([]string, error) { return OS{}.List(dir) }

// Mkdir implements FS; it fails.
func (ReadOnly) Mkdir(dir string) error { return refuse("mkdir", dir) }

// Remove implements FS; it fails.
func (ReadOnly) Remove(name string) error { return refuse("remove", name) }

// Rename implements FS; it fails.
func (ReadOnly) Rename(from, _ string) error { return refuse("rename", from) }

// SyncDir implements FS; it fails.
func (ReadOnly) SyncDir(dir string) error { return refuse("sync", dir) }

// Lock implements FS; it fails, since a lock file is written.
func (ReadOnly) Lock(name string) (io.Closer, error) { return nil, refuse("lock", name) }

func refuse(op, name string) error { return &os.PathError{Op: op, Path: name, Err: syscall.EROFS} }
