package rowcodec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// SchemaTopic is the compacted topic of one partition in which the table versions are kept.
const SchemaTopic = "__tailrace_schemas"

// lookupTimeout bounds the reading of a schema topic that has grown behind the registry's back.
const lookupTimeout = 30 * time.Second

// schemaBatch is the most schema records that are read at once.
const schemaBatch = 512

const schemaRemedy = "restore the topic " + SchemaTopic + " from a backup of the data directory, or take a new snapshot"

// A Registry knows all table versions that a log's rows refer to. A log has one Registry in a process; its methods may
// be called concurrently.
type Registry struct {
	log topic.Log

	mu      sync.RWMutex
	tables  map[uint32]schema
	origins map[change.Origin]*change.Origin

	reading sync.Mutex // held while the topic is read further
	next    int64      // offset of the first schema record that was not read yet; guarded by reading
}

// schema is one table version with the bytes that its number was made of.
type schema struct {
	table *change.Table
	value string
}

// Open makes the schema topic if there is none and reads all table versions. It blocks on the log.
func Open(ctx context.Context, log topic.Log) (*Registry, error) {
	spec := topic.Spec{Name: SchemaTopic, Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}}
	if err := log.Create(ctx, spec); err != nil && !errors.Is(err, topic.ErrTopicExists) {
		return nil, fmt.Errorf("making topic %s: %w", SchemaTopic, err)
	}
	r := &Registry{log: log, tables: map[uint32]schema{}, origins: map[change.Origin]*change.Origin{}, next: topic.Start}
	if err := r.catchUp(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// number gives t its schema number and the value of its schema record. It is the same for equal tables.
func (r *Registry) number(t *change.Table) (id uint32, value []byte) {
	value = appendTable(nil, t)
	h := fnv.New32a()
	h.Write(value)
	r.mu.Lock()
	defer r.mu.Unlock()
	for id = h.Sum32(); ; id++ {
		known, taken := r.tables[id]
		switch {
		case id == 0 || taken && known.value != string(value):
			continue // 0 means no table; a collision moves on
		case !taken:
			r.tables[id] = schema{t, string(value)}
		}
		return id, value
	}
}

// table returns the table version of a schema number. One that is not known yet is looked for in the log.
func (r *Registry) table(id uint32) (*change.Table, error) {
	if t, ok := r.find(id); ok {
		return t, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if err := r.catchUp(ctx); err != nil {
		return nil, err
	}
	if t, ok := r.find(id); ok {
		return t, nil
	}
	return nil, fault.Permanentf("LOG_CORRUPT", schemaRemedy, "the log has a row of schema %08x, which is not in %s", id, SchemaTopic)
}

func (r *Registry) find(id uint32) (*change.Table, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.tables[id]
	return s.table, ok
}

// catchUp reads the schema records that were appended since the last time.
func (r *Registry) catchUp(ctx context.Context) (err error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading topic %s: %w", SchemaTopic, err)
		}
	}()
	end, err := r.end(ctx)
	if err != nil || end == 0 || r.next >= end {
		return err
	}
	reader, err := r.log.Reader(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	if err := reader.Add(SchemaTopic, 0, r.next); err != nil {
		return err
	}
	for r.next < end { // the last record of a compacted partition is never compacted away
		recs, err := reader.Read(ctx, schemaBatch)
		if err != nil {
			return err
		}
		for i := range recs {
			if err := r.learn(&recs[i]); err != nil {
				return err
			}
			r.next = recs[i].Offset + 1
		}
	}
	return nil
}

// end returns the end offset of the schema topic, 0 if it has no records.
func (r *Registry) end(ctx context.Context) (int64, error) {
	infos, err := r.log.Topics(ctx)
	if err != nil {
		return 0, err
	}
	for _, info := range infos {
		if info.Name == SchemaTopic && len(info.Partitions) > 0 && info.Partitions[0].Start < info.Partitions[0].End {
			return info.Partitions[0].End, nil
		}
	}
	return 0, nil
}

// learn takes one schema record in.
func (r *Registry) learn(rec *topic.Record) error {
	if rec.Value == nil {
		return nil
	}
	t, err := decodeTable(rec.Value)
	if fault.IsPermanent(err) {
		return fmt.Errorf("offset %d: %w", rec.Offset, err)
	}
	if err == nil && (len(rec.Key) != 4 || binary.BigEndian.Uint32(rec.Key) == 0) {
		err = errSchema
	}
	if err != nil {
		return fault.Permanent("LOG_CORRUPT", schemaRemedy, fmt.Errorf("offset %d: %w", rec.Offset, err))
	}
	id := binary.BigEndian.Uint32(rec.Key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.tables[id]; ok {
		if known.value != string(rec.Value) {
			return fault.Permanentf("LOG_CORRUPT", schemaRemedy, "offset %d: schema %08x has two meanings", rec.Offset, id)
		}
		return nil
	}
	if o, ok := r.origins[*t.Origin]; ok {
		t.Origin = o
	} else {
		r.origins[*t.Origin] = t.Origin
	}
	r.tables[id] = schema{t, string(rec.Value)}
	return nil
}
