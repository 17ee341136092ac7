package disk

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"

	"github.com/tailrace/tailrace/internal/fault"
)

// copyJournal copies what the journal from a position on has beyond the segments.
func (s *salvage) copyJournal(ctx context.Context, from int64) error {
	dir := path.Join(s.src, journalDir)
	mark, err := readMark(s.fs, dir)
	if err != nil {
		return err
	}
	bases, err := journalFiles(s.fs, dir)
	if err != nil {
		bases = nil // said below
	}
	pos := from
	for i, base := range bases {
		if base < from && !s.blind {
			continue
		}
		name := path.Join(dir, journalName(base))
		if base != pos && !s.blind {
			s.gap(name, fmt.Sprintf("the journal from position %d to here is missing", pos))
		}
		next := int64(-1)
		if i+1 < len(bases) {
			next = bases[i+1]
		}
		if pos, err = s.copyJournalFile(ctx, dir, base, next); err != nil {
			return err
		}
	}
	if len(bases) == 0 || pos == from && bases[len(bases)-1] < from {
		s.gap(path.Join(dir, journalName(from)), "the file is missing")
	} else if pos < mark {
		s.gap(path.Join(dir, journalName(bases[len(bases)-1])), fmt.Sprintf("the journal was durable to position %d and ends at %d", mark, pos))
	}
	if s.journal {
		for _, t := range s.man.Topics {
			for num := range t.Partitions {
				if err := s.fill(ctx, s.parts[lane{t.Name, int32(num)}], math.MaxInt64); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// gap notes that a part of the journal is lost.
func (s *salvage) gap(file, cause string) {
	s.journal = true
	s.report.Lost = append(s.report.Lost, Lost{To: math.MaxInt64, File: file, Cause: cause + ": whatever of it segments don't have is lost"})
}

// copyJournalFile copies the whole frames of the file that begins at base, up to where the next one begins, -1 if there is
// none, and returns the position of its end.
func (s *salvage) copyJournalFile(ctx context.Context, dir string, base, next int64) (end int64, err error) {
	name := path.Join(dir, journalName(base))
	jr, _, err := openJournal(s.fs, dir, base) // each frame says where it is, so a damaged header does not matter
	if err != nil {
		return base, err
	}
	defer func() { err = errors.Join(err, jr.file.Close()) }()
	if jr.bytes < 0 && s.journal {
		s.gap(name, "the file ends within its header")
	}
	if next >= 0 {
		jr.bytes = min(jr.bytes, next-base)
	}
	for {
		if err := ctx.Err(); err != nil {
			return base, err
		}
		f, ok, err := jr.next()
		if err != nil {
			return base, err
		}
		if ok {
			if err := s.frame(ctx, name, &f); err != nil {
				return base, err
			}
			continue
		}
		if jr.at >= jr.bytes {
			return base + max(jr.bytes, 0), nil
		}
		damaged := next >= 0
		if !damaged {
			if damaged, err = jr.syncedBeyond(); err != nil {
				return base, err
			}
		}
		if !damaged {
			return base + jr.at, nil
		}
		at := jr.at
		if err := jr.resync(); err != nil {
			return base, err
		}
		s.gap(name, fmt.Sprintf("%d bytes from byte %d on are no whole frame", jr.at-at, journalHeader+at))
	}
}

// resync moves on to the next frame whose header is whole, or to the end.
func (jr *journalReader) resync() error {
	from := jr.at + 1
	buf := make([]byte, min(256<<10, max(jr.bytes, frameHeader)))
	for ; jr.bytes-from >= frameHeader; from += int64(len(buf) - frameHeader + 1) {
		b := buf[:min(int64(len(buf)), jr.bytes-from)]
		if err := readFull(jr.file, jr.name, b, journalHeader+from); err != nil {
			return err
		}
		for i := 0; i+frameHeader <= len(b); i++ {
			if f, _, _, ok := parseFrameHeader(b[i:]); ok && f.pos == jr.base+from+int64(i) {
				jr.at, jr.lo, jr.hi = from+int64(i), 0, 0
				return nil
			}
		}
		if int64(len(b)) == jr.bytes-from {
			break
		}
	}
	jr.at, jr.lo, jr.hi = jr.bytes, 0, 0
	return nil
}

// frame does what a whole frame says.
func (s *salvage) frame(ctx context.Context, name string, f *frame) error {
	switch f.kind {
	case kindRecords:
		err := eachSection(f.payload, func(id uint32, num int32, batches []byte) error {
			p := s.parts[lane{s.names[id], num}]
			if p == nil {
				if !s.blind {
					s.gap(name, fmt.Sprintf("frame %d has records of topic number %d, whose creation is lost", f.pos, id))
				}
				return nil
			}
			return s.section(ctx, p, name, batches)
		})
		if err == errNumbering {
			s.gap(name, fmt.Sprintf("frame %d is malformed", f.pos))
			return nil
		}
		return err
	case kindCreate:
		var m topicMeta
		if err := json.Unmarshal(f.payload, &m); err != nil {
			s.gap(name, fmt.Sprintf("frame %d is malformed", f.pos))
			return nil
		}
		return s.create(&m)
	case kindDelete:
		if len(f.payload) == 4 {
			s.drop(binary.BigEndian.Uint32(f.payload))
		}
		return nil
	case kindConfig:
		var c configFrame
		if err := json.Unmarshal(f.payload, &c); err != nil {
			s.gap(name, fmt.Sprintf("frame %d is malformed", f.pos))
			return nil
		}
		for i := range s.man.Topics {
			if t := &s.man.Topics[i]; t.Name == s.names[c.ID] {
				t.Config = c.Config
			}
		}
		return nil
	}
	return fault.Permanentf("LOG_VERSION", "use the Tailrace that wrote it, or a newer one", "a frame of the journal has the unknown kind %d", f.kind)
}

// section takes batches of the journal.
func (s *salvage) section(ctx context.Context, p *salvagePart, name string, batches []byte) error {
	sv := sieve{buf: batches, hi: len(batches), end: int64(len(batches)), name: name, offset: -1, upto: math.MaxInt64, owner: ownerOf(p.from)}
	for {
		b, ok, err := sv.next()
		if err != nil || !ok {
			return err
		}
		if b.h.BaseOffset > p.at {
			if err := s.fill(ctx, p, b.h.BaseOffset); err != nil {
				return err
			}
		}
		if err := s.take(p, &b, name, sv.cause); err != nil {
			return err
		}
		p.next = max(p.next, p.at)
	}
}

// fill takes what segments have between the end of what is there and the offset: the writer writes them before the journal.
func (s *salvage) fill(ctx context.Context, p *salvagePart, upto int64) error {
	names, err := s.fs.List(p.from)
	if err != nil {
		return nil // there are none
	}
	for _, n := range names { // sorted by their base
		if base, gen, ok := parseSegmentName(n); ok && gen == 0 {
			if _, err := s.copyFile(ctx, p, path.Join(p.from, n), math.MaxInt64, base, upto); err != nil {
				return err
			}
		}
	}
	return nil
}

// create makes the topic of a frame. Without a manifest it may be one that was found by its directory: then the frame
// tells its settings, number and partitions.
func (s *salvage) create(m *topicMeta) error {
	i := slices.IndexFunc(s.man.Topics, func(t topicMeta) bool { return t.Name == m.Name })
	if i >= 0 && !s.blind { // its deletion is lost
		s.drop(s.man.Topics[i].ID)
		i = -1
	}
	if i < 0 {
		return s.begin(m)
	}
	if known := &s.man.Topics[i]; known.Epoch == m.Epoch+1 {
		s.names[m.ID] = m.Name
		s.man.NextID = max(s.man.NextID, m.ID+1)
		known.ID, known.Config = m.ID, m.Config
		for num := len(known.Partitions); num < len(m.Partitions); num++ {
			known.Partitions = append(known.Partitions, partitionMeta{})
			s.parts[lane{m.Name, int32(num)}] = &salvagePart{lane: lane{m.Name, int32(num)}, limit: defaultSegmentBytes,
				from: path.Join(s.src, topicsDir, dirName(m.Name, m.Epoch, int32(num))), to: path.Join(s.dst, topicsDir, dirName(m.Name, known.Epoch, int32(num)))}
		}
	}
	return nil
}

// drop removes a topic that the journal says was deleted.
func (s *salvage) drop(id uint32) {
	i := slices.IndexFunc(s.man.Topics, func(t topicMeta) bool { return t.ID == id })
	if i < 0 {
		return
	}
	t := s.man.Topics[i]
	for num := range t.Partitions {
		delete(s.parts, lane{t.Name, int32(num)}) // what was copied of it is a stranger, which the first Open removes
	}
	s.man.Topics = slices.Delete(s.man.Topics, i, i+1)
	if s.man.Retired == nil {
		s.man.Retired = map[string]uint32{}
	}
	s.man.Retired[t.Name] = t.Epoch
	delete(s.names, id)
}
