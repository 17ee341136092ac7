package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// file is an open file.
type file struct {
	fs     *FS
	name   string
	node   *inode
	closed bool
}

var _ vfs.File = (*file)(nil)

func (h *file) begin(kind Kind) error {
	if h.closed {
		return &fs.PathError{Op: string(kind), Path: h.name, Err: fs.ErrClosed}
	}
	return h.fs.begin(kind, h.name)
}

// ReadAt implements io.ReaderAt.
func (h *file) ReadAt(b []byte, pos int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Read); err != nil {
		return 0, err
	}
	if pos >= int64(len(h.node.now)) {
		return 0, io.EOF
	}
	n := copy(b, h.node.now[pos:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. A full disk writes what still fits.
func (h *file) WriteAt(b []byte, pos int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.begin(Write)
	if err != nil {
		short, ok := errors.AsType[*Short](err)
		switch {
		case ok:
			b = b[:min(short.Bytes, len(b))]
		case err == errCut:
			err = ErrPowerOff // the write may be on its way in part or whole; Crash decides
		default:
			return 0, err
		}
	}
	n := h.node
	end := pos + int64(len(b))
	if c := h.fs.capacity; c > 0 && end > int64(len(n.now)) {
		if free := c - h.fs.used; end-int64(len(n.now)) > free {
			end = int64(len(n.now)) + max(free, 0)
			b = b[:max(0, min(int64(len(b)), end-pos))]
			end = pos + int64(len(b))
			err = &fs.PathError{Op: "write", Path: h.name, Err: syscall.ENOSPC}
		}
	}
	if len(b) == 0 {
		return 0, err
	}
	if end > int64(len(n.now)) {
		h.fs.resize(n, end)
	}
	copy(n.now[pos:], b)
	for i := pos / block; i <= (end-1)/block; i++ {
		n.dirty[int(i)] = true
	}
	return len(b), err
}

// resize makes n size bytes long; new bytes are zero.
func (f *FS) resize(n *inode, size int64) {
	f.used += size - int64(len(n.now))
	if size < int64(len(n.now)) {
		for i := size / block; i <= int64(len(n.now)-1)/block; i++ {
			n.dirty[int(i)] = true
		}
		clear(n.now[size:])
		n.now = n.now[:size]
	} else {
		n.now = append(n.now, make([]byte, size-int64(len(n.now)))...)
	}
	if size%block != 0 {
		n.dirty[int(size/block)] = true
	}
}

// Size implements vfs.File.
func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Read); err != nil {
		return 0, err
	}
	return int64(len(h.node.now)), nil
}

// Truncate implements vfs.File.
func (h *file) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Truncate); err != nil {
		return err
	}
	h.fs.resize(h.node, size)
	return nil
}

// Sync implements vfs.File.
func (h *file) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.begin(Sync); err != nil {
		return err
	}
	n := h.node
	if len(n.durable) > len(n.now) {
		n.durable = n.durable[:len(n.now)]
	}
	n.durable = append(n.durable, make([]byte, len(n.now)-len(n.durable))...)
	for i := range n.dirty {
		from, to := i*block, min((i+1)*block, len(n.now))
		if from < to {
			copy(n.durable[from:to], n.now[from:to])
		}
	}
	clear(n.dirty)
	n.durable = slices.Clip(n.durable)
	return nil
}

// Close implements vfs.File.
func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return &fs.PathError{Op: "close", Path: h.name, Err: fs.ErrClosed}
	}
	h.closed = true
	if h.node.opens--; h.node.links == 0 && h.node.opens == 0 {
		h.fs.used -= int64(len(h.node.now))
	}
	return nil
}
