package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// ConfigTopic holds the configuration and target state of every connector: key is the name, value a stored as JSON.
const ConfigTopic = "__tailrace_configs"

// stored is a connector's definition as the log keeps it: placeholders as written (Invariant 9).
type stored struct {
	Config map[string]string `json:"config"`
	State  State             `json:"state"` // target: RUNNING, PAUSED or STOPPED
}

// configStore is the durable side of the list of connectors. It is safe for concurrent use.
type configStore struct {
	log topic.Log
	now func() time.Time
	mu  sync.Mutex
	m   map[string]stored
}

func openConfigStore(ctx context.Context, log topic.Log, now func() time.Time) (*configStore, error) {
	s := &configStore{log: log, now: now, m: map[string]stored{}}
	err := log.Create(ctx, topic.Spec{Name: ConfigTopic, Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}})
	if err != nil && !errors.Is(err, topic.ErrTopicExists) {
		return nil, fmt.Errorf("create %s: %w", ConfigTopic, err)
	}
	err = topic.Scan(ctx, log, ConfigTopic, func(r *topic.Record) error {
		if r.Value == nil {
			delete(s.m, string(r.Key))
			return nil
		}
		var v stored
		if err := json.Unmarshal(r.Value, &v); err != nil {
			return fault.Permanentf("LOG_CORRUPT", "run tailrace log verify", "%s offset %d: %w", ConfigTopic, r.Offset, err)
		}
		s.m[string(r.Key)] = v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ConfigTopic, err)
	}
	return s, nil
}

func (s *configStore) all() map[string]stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.m)
}

// put makes the definition durable.
func (s *configStore) put(ctx context.Context, name string, v stored) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("store configuration of %s: %w", name, err)
	}
	if err := s.append(ctx, name, value); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[name] = v
	return nil
}

// remove makes the connector's absence durable. Its offsets stay.
func (s *configStore) remove(ctx context.Context, name string) error {
	if err := s.append(ctx, name, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, name)
	return nil
}

func (s *configStore) append(ctx context.Context, name string, value []byte) error {
	r := topic.Record{Topic: ConfigTopic, Timestamp: s.now().UnixMilli(), Key: []byte(name), Value: value}
	if err := s.log.Append(ctx, []topic.Record{r}); err != nil {
		return fmt.Errorf("store configuration of %s: %w", name, err)
	}
	return nil
}

// names returns the connectors' names, sorted.
func (w *Worker) Names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.connectors))
}
