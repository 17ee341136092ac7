package disk

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// guessedID is where the numbers begin that topics get that were found without a manifest, so that none is one that the
// journal means otherwise.
const guessedID = 1 << 31

// guess makes a manifest of the names of directories and files.
func (s *salvage) guess() (*manifest, error) {
	root := path.Join(s.src, topicsDir)
	dirs, err := s.fs.List(root)
	if err != nil {
		return nil, missing(root, err)
	}
	newest := map[string]*topicMeta{}
	for _, d := range dirs {
		name, epoch, num, ok := parseDirName(d)
		if !ok {
			continue
		}
		t := newest[name]
		if t == nil || t.Epoch < epoch {
			t = &topicMeta{Name: name, Epoch: epoch}
			newest[name] = t
		}
		if t.Epoch > epoch {
			continue // of a topic that was deleted
		}
		for len(t.Partitions) <= int(num) {
			t.Partitions = append(t.Partitions, partitionMeta{})
		}
		if t.Partitions[num].Segments, err = s.guessSegments(path.Join(root, d)); err != nil {
			return nil, err
		}
	}
	m := &manifest{Generation: 1}
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		t := newest[name]
		t.ID = guessedID + uint32(len(m.Topics))
		m.Topics = append(m.Topics, *t)
	}
	return m, nil
}

// guessSegments says which segment files of a directory belong together. Of those with the same base the oldest counts: as
// long as it is there, compaction had not come to removing what it replaced.
func (s *salvage) guessSegments(dir string) ([]segmentMeta, error) {
	names, err := s.fs.List(dir)
	if err != nil {
		return nil, err
	}
	var metas []segmentMeta
	for _, n := range names {
		if base, gen, ok := parseSegmentName(n); ok {
			metas = append(metas, segmentMeta{Base: base, Gen: gen, Bytes: math.MaxInt64})
		}
	}
	slices.SortFunc(metas, func(a, b segmentMeta) int { return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Gen, b.Gen)) })
	return slices.CompactFunc(metas, func(a, b segmentMeta) bool { return a.Base == b.Base }), nil
}

// parseSegmentName is the reverse of segmentMeta.fileName.
func parseSegmentName(name string) (base int64, gen uint32, ok bool) {
	number, count, rewritten := strings.Cut(strings.TrimSuffix(name, ".log"), ".")
	base, err := strconv.ParseInt(number, 10, 64)
	if rewritten && err == nil {
		var n uint64
		n, err = strconv.ParseUint(count, 10, 32)
		gen = uint32(n)
	}
	m := segmentMeta{Base: base, Gen: gen}
	return base, gen, err == nil && base >= 0 && m.fileName() == name
}

// parseDirName is the reverse of dirName.
func parseDirName(dir string) (name string, epoch uint32, num int32, ok bool) {
	name, rest, _ := strings.Cut(dir, "@")
	a, b, _ := strings.Cut(rest, "-")
	e, errE := strconv.ParseUint(a, 10, 32)
	n, errN := strconv.ParseUint(b, 10, 16)
	epoch, num = uint32(e), int32(n)
	return name, epoch, num, errors.Join(errE, errN, checkName(name)) == nil && dirName(name, epoch, num) == dir
}
