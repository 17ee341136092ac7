// Package crashfs is a file system in memory that loses power, runs full and fails on demand, for tests of the log.
//
// [New] gives an empty [FS]. [FS.PowerOffAfter] stops it at any operation, [FS.Crash] gives the file system that a
// machine could find after a power cut, [FS.Kill] the one after a kill of the process only. [FS.Inject] fails single
// operations, [FS.SetCapacity] fills the disk.
//
// What a power cut leaves: a file's content and size at its last Sync, and of each 4 KiB block written since, the old
// bytes, the new ones, or the new ones up to some byte; a size that changed since is the old one or the new one, and what
// was never written reads as zeros. Entries of a directory, subdirectories too, as of its last SyncDir, and of each
// creation, removal and rename since, independently, that it happened or not; a rename happens whole or not at all.
//
// Invariant: what was synced is there after every crash. A random source that is given makes each crash repeatable.
//
// It has no permissions and no links, and it does not model disks that lie about a sync.
package crashfs

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"

	"github.com/tailrace/tailrace/topic/disk/vfs"
)

const block = 4096

// Error is the type of this package's own errors.
type Error string

// Error implements error.
func (e Error) Error() string { return string(e) }

// ErrPowerOff is what every operation returns after the power went off.
const ErrPowerOff Error = "crashfs: power is off"

// errCut is what begin returns for a write in which the power goes off.
const errCut Error = "crashfs: the power goes off"

// Kind is a kind of operation.
type Kind string

// The operations.
const (
	Open     Kind = "open"
	Create   Kind = "create"
	Read     Kind = "read"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Mkdir    Kind = "mkdir"
	Remove   Kind = "remove"
	Rename   Kind = "rename"
	SyncDir  Kind = "syncdir"
)

// An Op is an operation about to happen.
type Op struct {
	Kind Kind
	Name string
}

// Short is an injected error of a Write that writes so many bytes before it fails.
type Short struct {
	Bytes int
	Err   error
}

// Error implements error.
func (s *Short) Error() string { return fmt.Sprintf("after %d bytes: %v", s.Bytes, s.Err) }

// Unwrap returns the cause.
func (s *Short) Unwrap() error { return s.Err }

// FS is the file system. All methods may be called concurrently.
type FS struct {
	mu       sync.Mutex
	dirs     map[string]*dir
	locks    map[string]bool
	inject   func(Op) error
	changes  int64 // operations so far that can change the disk
	cut      int64 // the power goes off at this one; 0: never
	off      bool
	capacity int64 // 0: any
	used     int64
}

var _ vfs.FS = (*FS)(nil)

type dir struct {
	now     map[string]*inode
	durable map[string]*inode
	pending []change // from durable to now
	synced  bool     // the directory itself is in its parent for good
}

// change is a step that a directory's entries took: gone loses its entry, name gets node. Either may be empty.
type change struct {
	gone string
	name string
	node *inode
}

type inode struct {
	now     []byte
	durable []byte
	dirty   map[int]bool // blocks
	links   int
	opens   int
}

// New returns an empty file system.
func New() *FS {
	root := &dir{now: map[string]*inode{}, durable: map[string]*inode{}, synced: true}
	return &FS{dirs: map[string]*dir{"/": root}, locks: map[string]bool{}}
}

// Inject has every operation ask fail first; an error that it returns is the operation's. Of a Write, a *Short writes a
// part. A nil fail ends it. fail must not call the FS.
func (f *FS) Inject(fail func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inject = fail
}

// SetCapacity limits the bytes of all files; 0 is no limit.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// Used is the bytes of all files.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// PowerOffAfter lets n more operations that change the disk happen; at the next one the power goes off.
func (f *FS) PowerOffAfter(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = f.changes + n + 1
}

// Changes is how many operations so far could change the disk.
func (f *FS) Changes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes
}

// begin admits an operation. f.mu is held.
func (f *FS) begin(kind Kind, name string) error {
	if f.off {
		return ErrPowerOff
	}
	if kind != Read && kind != Open {
		f.changes++
		if f.changes == f.cut {
			f.off = true
			if kind == Write {
				return errCut
			}
			return ErrPowerOff
		}
	}
	if f.inject != nil {
		if err := f.inject(Op{kind, name}); err != nil {
			return &fs.PathError{Op: string(kind), Path: name, Err: err}
		}
	}
	return nil
}

// Crash turns the power off and returns the file system that is found when it comes back.
func (f *FS) Crash(rnd *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	return f.clone(func() bool { return rnd.IntN(2) == 0 }, func(d *dir) map[string]*inode {
		entries := copyMap(d.durable)
		for _, c := range d.pending {
			if rnd.IntN(2) == 0 {
				c.apply(entries)
			}
		}
		return entries
	}, func(n *inode) []byte { return n.crash(rnd) })
}

// Kill stops this file system and returns one with all that was written, synced or not, but no locks: the process was
// killed and the machine goes on. What was not synced still isn't.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	g := New()
	g.capacity = f.capacity
	nodes := map[*inode]*inode{}
	node := func(n *inode) *inode {
		if nodes[n] == nil {
			nodes[n] = &inode{now: slices.Clone(n.now), durable: slices.Clone(n.durable), dirty: copyMap(n.dirty)}
		}
		return nodes[n]
	}
	for name, d := range f.dirs {
		e := &dir{now: map[string]*inode{}, durable: map[string]*inode{}, synced: d.synced}
		for k, n := range d.now {
			e.now[k] = node(n)
			e.now[k].links++
		}
		for k, n := range d.durable {
			e.durable[k] = node(n)
		}
		for _, c := range d.pending {
			if c.node != nil {
				c.node = node(c.node)
			}
			e.pending = append(e.pending, c)
		}
		g.dirs[name] = e
	}
	g.count()
	return g
}

// clone makes a file system of which everything is durable.
func (f *FS) clone(lost func() bool, entries func(*dir) map[string]*inode, content func(*inode) []byte) *FS {
	g := New()
	g.capacity = f.capacity
	nodes := map[*inode]*inode{}
	for _, name := range sortedKeys(f.dirs) { // parents first
		if parent := path.Dir(name); parent != name && g.dirs[parent] == nil || !f.dirs[name].synced && lost() {
			continue
		}
		now := entries(f.dirs[name])
		d := &dir{now: map[string]*inode{}, durable: map[string]*inode{}, synced: true}
		for _, k := range sortedKeys(now) {
			n := now[k]
			if nodes[n] == nil {
				b := content(n)
				nodes[n] = &inode{now: b, durable: slices.Clone(b), dirty: map[int]bool{}}
			}
			nodes[n].links++
			d.now[k], d.durable[k] = nodes[n], nodes[n]
		}
		g.dirs[name] = d
	}
	g.count()
	return g
}

func (f *FS) count() {
	seen := map[*inode]bool{}
	for _, d := range f.dirs {
		for _, n := range d.now {
			if !seen[n] {
				seen[n] = true
				f.used += int64(len(n.now))
			}
		}
	}
}

func (c change) apply(entries map[string]*inode) {
	if c.gone != "" {
		delete(entries, c.gone)
	}
	if c.name != "" {
		entries[c.name] = c.node
	}
}

// crash returns a content that a power cut may leave.
func (n *inode) crash(rnd *rand.Rand) []byte {
	size := len(n.durable)
	if rnd.IntN(2) == 0 {
		size = len(n.now)
	}
	b := make([]byte, size)
	copy(b, n.durable)
	for _, i := range sortedKeys(n.dirty) {
		from, to := i*block, min((i+1)*block, len(n.now), size)
		if from >= to {
			continue
		}
		switch rnd.IntN(3) {
		case 0:
			copy(b[from:to], n.now[from:to])
		case 1:
			torn := from + rnd.IntN(to-from)
			copy(b[from:torn], n.now[from:torn])
		}
	}
	return b
}

func copyMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func sortedKeys[K string | int, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// find returns the directory of a file.
func (f *FS) find(op Kind, name string) (*dir, string, error) {
	d := f.dirs[path.Dir(name)]
	if d == nil {
		return nil, "", &fs.PathError{Op: string(op), Path: name, Err: syscall.ENOENT}
	}
	return d, path.Base(name), nil
}

// Open implements vfs.FS.
func (f *FS) Open(name string, flag int) (vfs.File, error) {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	d, base, err := f.find(Open, name)
	if err != nil {
		return nil, err
	}
	n := d.now[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		if err := f.begin(Open, name); err != nil {
			return nil, err
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case n == nil:
		if err := f.begin(Create, name); err != nil {
			return nil, err
		}
		n = &inode{dirty: map[int]bool{}, links: 1}
		d.step(change{name: base, node: n})
	case flag&os.O_TRUNC != 0 && len(n.now) > 0:
		if err := f.begin(Truncate, name); err != nil {
			return nil, err
		}
		f.resize(n, 0)
	default:
		if err := f.begin(Open, name); err != nil {
			return nil, err
		}
	}
	n.opens++
	return &file{fs: f, name: name, node: n}, nil
}

func (d *dir) step(c change) {
	c.apply(d.now)
	d.pending = append(d.pending, c)
}

// Mkdir implements vfs.FS. Names are absolute.
func (f *FS) Mkdir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name = path.Clean(name); f.dirs[name] == nil; name = path.Dir(name) {
		if err := f.begin(Mkdir, name); err != nil {
			return err
		}
		f.dirs[name] = &dir{now: map[string]*inode{}, durable: map[string]*inode{}}
	}
	return nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Remove, name); err != nil {
		return err
	}
	if d := f.dirs[name]; d != nil {
		if len(d.now) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
		delete(f.dirs, name)
		return nil
	}
	d, base, err := f.find(Remove, name)
	if err != nil {
		return err
	}
	n := d.now[base]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	}
	d.step(change{gone: base})
	f.unlink(n)
	return nil
}

// unlink takes a name from n and frees its bytes if nobody has it any more.
func (f *FS) unlink(n *inode) {
	if n.links--; n.links == 0 && n.opens == 0 {
		f.used -= int64(len(n.now))
	}
}

// Rename implements vfs.FS, within one directory.
func (f *FS) Rename(from, to string) error {
	from, to = path.Clean(from), path.Clean(to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if path.Dir(from) != path.Dir(to) {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.EXDEV}
	}
	if err := f.begin(Rename, from); err != nil {
		return err
	}
	d, base, err := f.find(Rename, from)
	if err != nil {
		return err
	}
	n := d.now[base]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	if old := d.now[path.Base(to)]; old != nil {
		f.unlink(old)
	}
	d.step(change{gone: base, name: path.Base(to), node: n})
	return nil
}

// List implements vfs.FS.
func (f *FS) List(name string) ([]string, error) {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Read, name); err != nil {
		return nil, err
	}
	d := f.dirs[name]
	if d == nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: syscall.ENOENT}
	}
	names := sortedKeys(d.now)
	for sub := range f.dirs {
		if path.Dir(sub) == name && sub != name {
			names = append(names, path.Base(sub))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	name = path.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(SyncDir, name); err != nil {
		return err
	}
	d := f.dirs[name]
	if d == nil {
		return &fs.PathError{Op: "sync", Path: name, Err: syscall.ENOENT}
	}
	d.durable, d.pending = copyMap(d.now), nil
	for sub, s := range f.dirs {
		if path.Dir(sub) == name {
			s.synced = true
		}
	}
	return nil
}

// Lock implements vfs.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, ErrPowerOff
	}
	if f.locks[name] {
		return nil, &vfs.Locked{Name: name, PID: "1"}
	}
	f.locks[name] = true
	return &lock{fs: f, name: name}, nil
}

type lock struct {
	fs   *FS
	name string
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}
