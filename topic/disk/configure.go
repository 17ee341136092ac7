package disk

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// configFrame is the payload of a frame of kindConfig.
type configFrame struct {
	ID     uint32            `json:"id"`
	Config map[string]string `json:"config"`
}

// Configure implements topic.Configurer. The names are those that the log obeys; others are refused, since they would
// change nothing. Segments take over a change at once or, of their size and compression, with the next batch.
func (l *Log) Configure(ctx context.Context, name string, set map[string]string) error {
	var s settings
	for n := range set {
		if known, _ := s.set(n, ""); !known {
			return fault.Permanentf("TOPIC_CONFIG", "correct the name", "topic %s: the log has no setting %q", name, n)
		}
	}
	err := l.do(ctx, &request{kind: kindConfig, spec: topic.Spec{Name: name, Config: maps.Clone(set)}})
	if err == nil {
		token(l.tidyWake)
	}
	return err
}

// prepareConfig makes the frame of a Configure.
func (l *Log) prepareConfig(r *request) error {
	l.mu.RLock()
	r.made = l.topics[r.spec.Name]
	l.mu.RUnlock()
	if r.made == nil {
		return fmt.Errorf("%s: %w", r.spec.Name, topic.ErrNoTopic)
	}
	config := maps.Clone(r.made.conf().config)
	if config == nil {
		config = map[string]string{}
	}
	for n, v := range r.spec.Config {
		if config[n] = v; v == "" {
			delete(config, n)
		}
	}
	var err error
	if r.conf, err = l.opt.parse(config); err != nil {
		return fmt.Errorf("topic %s: %w", r.spec.Name, err)
	}
	body, err := json.Marshal(configFrame{ID: r.made.id, Config: config})
	r.buf = append(make([]byte, frameHeader), body...)
	return err
}

func (l *Log) replayConfig(payload []byte) error {
	var f configFrame
	if err := json.Unmarshal(payload, &f); err != nil {
		return fmt.Errorf("%w: %w", errNumbering, err)
	}
	t := l.byID[f.ID]
	if t == nil {
		return errNumbering
	}
	s, err := l.opt.parse(f.Config)
	if err != nil {
		return fmt.Errorf("topic %s: %w", t.name, err)
	}
	t.settings.Store(s)
	return nil
}
