package disk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// groupBytes bounds what the writer commits with one fsync.
const groupBytes = 16 << 20

// joinBytes is the size of frames that are copied together to be written in one go.
const joinBytes = 64 << 10

// write is the writer: the one goroutine that assigns offsets and writes the journal. It takes all that is queued,
// commits it with one fsync, answers, and begins again, until the log is closed and the queue is empty.
func (l *Log) write() error {
	defer close(l.shots)
	for {
		group, closed := l.take()
		if len(group) == 0 {
			if closed {
				return nil
			}
			<-l.qwake
			continue
		}
		for len(group) > 0 {
			switch group[0].kind {
			case askCheckpoint, askClose:
				l.forceCheckpoint(group[0].done, group[0].kind == askClose)
				group = group[1:]
				continue
			case askSeal:
				group[0].done <- l.seal(group[0].spec.Name, group[0].due)
				group = group[1:]
				continue
			}
			n := groupSize(group)
			l.commit(group[:n])
			group = group[n:]
		}
	}
}

// take empties the queue.
func (l *Log) take() (group []*request, closed bool) {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	l.group, l.queue = l.queue, l.group[:0]
	return l.group, l.closed
}

// groupSize says how many of the requests are committed together: Creates and Deletes alone, since they change what the
// others refer to.
func groupSize(reqs []*request) int {
	bytes := 0
	for i, r := range reqs {
		if i > 0 && (r.kind != kindRecords || bytes+len(r.buf) > groupBytes) {
			return i
		}
		bytes += len(r.buf)
		if r.kind != kindRecords {
			return i + 1
		}
	}
	return len(reqs)
}

// commit makes a group durable and visible, or none of it, and answers.
func (l *Log) commit(group []*request) {
	err := l.failure()
	if err == nil {
		err = l.mayWrite()
	}
	if err == nil {
		err = l.journalRoom()
	}
	if err != nil {
		answer(group, err)
		return
	}
	// Those whose topic is gone meanwhile are answered alone, the others go on.
	group = slices.DeleteFunc(group, func(r *request) bool {
		err := l.prepare(r)
		if err != nil {
			r.done <- err
		}
		return err != nil
	})
	if len(group) == 0 {
		return
	}
	size, err := l.put(group)
	if err != nil {
		// Nothing refers to what was written to segments; the journal is cut back. (Invariant 3)
		l.unstage()
		err = notWritten(err)
		if cut := l.journal.retreat(); cut != nil {
			err = l.unsafe(fmt.Errorf("cut the journal back after %w: %w", err, cut))
		}
		answer(group, err)
		return
	}
	if err = l.journal.file.Sync(); err != nil {
		err = fmt.Errorf("sync %s: %w", l.journal.name, err)
	} else {
		// A process that was stopped for a while may find that it has been replaced, and that its successor did not
		// see what it has just written. (Invariant 1)
		err = l.owned()
	}
	if err != nil {
		l.unstage()
		answer(group, l.unsafe(err))
		return
	}
	l.journal.size += size
	l.kept.Add(size)
	l.appended.Add(size)
	l.journal.synced = l.journal.end()
	l.apply(group)
	l.publish()
	answer(group, nil) // Invariant 1: only now
	if err := l.journal.mark(l.opt.JournalBytes / markShare); err != nil {
		l.opt.Logger.Warn("a journal that is cut off will be noticed later", "dir", l.opt.Dir, "error", err)
	}
	if l.kept.Load() >= l.opt.JournalBytes {
		l.startCheckpoint()
	}
}

// mayWrite fails if another process has taken over the log, for good, or if that can't be told.
func (l *Log) mayWrite() error {
	err := l.owned()
	if fault.IsPermanent(err) {
		return l.unsafe(err)
	}
	if err != nil {
		return notWritten(err)
	}
	return nil
}

func answer(group []*request, err error) {
	for _, r := range group {
		r.done <- err
	}
}

// prepare checks a request against the topics as they are now, and makes the frame of a Create or Delete.
func (l *Log) prepare(r *request) error {
	switch r.kind {
	case kindCreate:
		l.mu.RLock()
		exists := l.topics[r.spec.Name] != nil
		epoch := l.retired[r.spec.Name] + 1
		l.mu.RUnlock()
		if exists {
			return fmt.Errorf("%s: %w", r.spec.Name, topic.ErrTopicExists)
		}
		m := topicMeta{ID: l.nextID, Name: r.spec.Name, Epoch: epoch, Config: r.spec.Config, Partitions: make([]partitionMeta, r.spec.Partitions)}
		var err error
		if r.buf, err = createFrame(&m); err != nil {
			return err
		}
		r.made, err = l.newTopic(&m)
		return err
	case kindConfig:
		return l.prepareConfig(r)
	case kindDelete:
		l.mu.RLock()
		r.made = l.topics[r.spec.Name]
		l.mu.RUnlock()
		if r.made == nil {
			return fmt.Errorf("%s: %w", r.spec.Name, topic.ErrNoTopic)
		}
		r.buf = deleteFrame(r.made.id)
		return nil
	}
	for i := range r.parts {
		if t := r.parts[i].p.topic; l.byID[t.id] != t {
			return fmt.Errorf("%s: %w", t.name, topic.ErrNoTopic)
		}
	}
	return nil
}

// put writes the group to segments and then to the journal. Neither counts before the journal is synced. It returns how
// many bytes the journal grows by.
func (l *Log) put(group []*request) (int64, error) {
	for _, r := range group {
		for i := range r.parts {
			pt := &r.parts[i]
			if err := l.stage(pt.p, r.buf[pt.lo:pt.hi], true); err != nil {
				return 0, err
			}
		}
	}
	from := l.journal.end()
	at := from
	written := from // frames up to here are in the file, those up to at are in joined
	l.joined = l.joined[:0]
	flush := func() error {
		if len(l.joined) == 0 {
			return nil
		}
		err := l.journal.write(l.joined, written)
		written += int64(len(l.joined))
		l.joined = l.joined[:0]
		return err
	}
	for _, r := range group {
		sealFrame(r.buf, at, l.journal.synced, r.kind, l.journal.gen)
		at += int64(len(r.buf))
		if len(r.buf) <= joinBytes && len(group) > 1 {
			if l.joined = append(l.joined, r.buf...); len(l.joined) < 1<<20 {
				continue
			}
			if err := flush(); err != nil {
				return 0, err
			}
			continue
		}
		if err := flush(); err != nil {
			return 0, err
		}
		if err := l.journal.write(r.buf, written); err != nil {
			return 0, err
		}
		written += int64(len(r.buf))
	}
	return at - from, flush()
}

// apply does what Creates, Deletes and Configures say.
func (l *Log) apply(group []*request) {
	for _, r := range group {
		switch r.kind {
		case kindCreate:
			l.addTopic(r.made)
		case kindDelete:
			l.dropTopic(r.made)
		case kindConfig:
			r.made.settings.Store(r.conf)
		}
	}
}

// eachSection calls visit for each section of the payload of a frame of kindRecords.
func eachSection(payload []byte, visit func(id uint32, num int32, batches []byte) error) error {
	for len(payload) > 0 {
		if len(payload) < sectionHeader {
			return errNumbering
		}
		be := binary.BigEndian
		id, num, size := be.Uint32(payload), int32(be.Uint32(payload[4:])), be.Uint32(payload[8:])
		payload = payload[sectionHeader:]
		if int64(size) > int64(len(payload)) {
			return errNumbering
		}
		if err := visit(id, num, payload[:size]); err != nil {
			return err
		}
		payload = payload[size:]
	}
	return nil
}

// seal ends the last segments of a topic of which due holds, all if it is nil, so that the next checkpoint lets compaction
// take them.
func (l *Log) seal(name string, due func(*segment) bool) error {
	l.mu.RLock()
	t := l.topics[name]
	l.mu.RUnlock()
	if t == nil {
		return fmt.Errorf("%s: %w", name, topic.ErrNoTopic)
	}
	for _, p := range t.parts {
		p.mu.Lock()
		if n := len(p.segs); n > 0 && p.segs[n-1].meta.Bytes > 0 && (due == nil || due(p.segs[n-1])) {
			p.segs[n-1].sealed = true
		}
		p.mu.Unlock()
	}
	return nil
}
