package vfs

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the operating system's file system.
type OS struct{}

var _ FS = OS{}

// osFile is an os.File with Size.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Open implements FS.
func (OS) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Mkdir implements FS.
func (OS) Mkdir(dir string) error { return os.MkdirAll(dir, 0o750) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// List implements FS.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements FS by flock(2), which the kernel gives back when the process ends, however it ends. The process ID is
// written into the file, for those who find it locked.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 20)
		n, _ := f.ReadAt(pid, 0) // who it is is a courtesy
		return nil, errors.Join(&Locked{Name: name, PID: strings.TrimSpace(string(pid[:n]))}, f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) { // a full disk must not keep us from opening
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
