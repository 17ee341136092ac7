package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/topic"
)

// NoteTopic holds what sources want to be told when they are opened again: the key is the connector's name, a zero byte and the
// note's key. A note is appended together with the position that it belongs to. (Invariant 3)
const NoteTopic = "__tailrace_notes"

func noteKey(connector, key string) []byte { return []byte(connector + "\x00" + key) }

// notes returns the notes of a connector.
func (w *Worker) notes(ctx context.Context, connector string) (map[string][]byte, error) {
	prefix := noteKey(connector, "")
	all := map[string][]byte{}
	err := topic.Scan(ctx, w.opt.Log, NoteTopic, func(r *topic.Record) error {
		if key, ok := bytes.CutPrefix(r.Key, prefix); ok {
			if all[string(key)] = bytes.Clone(r.Value); r.Value == nil {
				delete(all, string(key))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, topic.ErrNoTopic) {
		return nil, fmt.Errorf("read %s: %w", NoteTopic, err)
	}
	return all, nil
}

// appendNotes appends the records of a batch's notes.
func (w *Worker) appendNotes(ctx context.Context, recs []topic.Record, connector string, notes []change.Note) ([]topic.Record, error) {
	if len(notes) == 0 {
		return recs, nil
	}
	if _, err := w.topics.ensure(ctx, NoteTopic, topic.Spec{Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		return recs, err
	}
	for _, n := range notes {
		recs = append(recs, topic.Record{Topic: NoteTopic, Timestamp: w.opt.Now().UnixMilli(), Key: noteKey(connector, n.Key), Value: n.Value})
	}
	return recs, nil
}
