package disk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
)

// foreign tells why a segment's file can't be the one that the manifest means, as when files were swapped or an old copy was
// put back; "" if it may be the one, damaged or not. Batches that don't say whose they are, as none did before, leave one doubt:
// a shorter file of another partition with the same base and older records can't be told from this one cut short.
func (s *salvage) foreign(ctx context.Context, name string, m *segmentMeta) (why string, err error) {
	f, err := s.fs.Open(name, 0)
	if err != nil {
		return "", nil // it is missing, which is said elsewhere
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return "", err
	}
	return s.compare(ctx, &sieve{file: f, name: name, end: size, offset: -1, upto: math.MaxInt64, owner: ownerOf(path.Dir(name))}, size, m)
}

// compare reads what is whole of the file and compares it with the manifest.
func (s *salvage) compare(ctx context.Context, sv *sieve, size int64, m *segmentMeta) (string, error) {
	var records int64
	for n := 0; sv.pos < m.Bytes; n++ {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b, ok, err := sv.next()
		if err != nil {
			return "", err
		}
		if !ok {
			break
		}
		records += int64(b.h.Count)
		switch {
		case n == 0 && sv.cause == "" && b.h.BaseOffset != m.Base:
			next, ok, err := sv.next()
			if err != nil {
				return "", err
			}
			// One batch that is numbered wrong, and nothing else, is damage of just that number.
			if !ok || next.h.BaseOffset != m.Base+int64(b.h.LastDelta)+1 {
				return fmt.Sprintf("it begins with offset %d, so it is another segment", b.h.BaseOffset), nil
			}
			records += int64(next.h.Count)
		case n == 0 && sv.cause == "" && b.first != m.First:
			return fmt.Sprintf("its first record has offset %d instead of %d, so it is another segment", b.first, m.First), nil
		case b.latest > m.MaxTime:
			return fmt.Sprintf("it has a record of %d ms, later than any that it should have, so it is another segment", b.latest), nil
		case sv.pos > m.Bytes && sv.cause == "":
			return fmt.Sprintf("no batch ends at byte %d, so it is another segment", m.Bytes), nil
		}
	}
	if records > m.Records || sv.cause == "" && size >= m.Bytes && records != m.Records {
		return fmt.Sprintf("it has %d records instead of %d, so it is another segment", records, m.Records), nil
	}
	return "", nil
}
