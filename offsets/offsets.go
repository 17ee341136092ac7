package offsets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// Topic is the name of the topic that holds all offsets.
const Topic = "__tailrace_offsets"

// An Offset is where one connector stands in one origin.
type Offset struct {
	Origin   string
	Position change.Position
}

// Store holds the committed offsets of all connectors. It is safe for concurrent use.
type Store struct {
	log topic.Log
	now func() time.Time

	mu   sync.Mutex
	byID map[string]map[string]change.Position // connector -> origin -> position
}

// Open makes the topic if there is none and reads it to its end. It blocks for as long as that takes.
func Open(ctx context.Context, log topic.Log, now func() time.Time) (*Store, error) {
	s := &Store{log: log, now: now, byID: map[string]map[string]change.Position{}}
	err := log.Create(ctx, topic.Spec{Name: Topic, Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}})
	if err != nil && !errors.Is(err, topic.ErrTopicExists) {
		return nil, fmt.Errorf("create %s: %w", Topic, err)
	}
	err = topic.Scan(ctx, log, Topic, func(r *topic.Record) error {
		connector, origin, err := parseKey(r.Key)
		if err != nil {
			return fault.Permanentf("LOG_CORRUPT", "run tailrace log verify", "%s offset %d: %w", Topic, r.Offset, err)
		}
		s.Applied(connector, origin, slices.Clone(r.Value))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Topic, err)
	}
	return s, nil
}

// Record returns the record that, once appended, makes p the position of the connector in the origin. A nil p resets
// it. After the Append succeeded the caller tells the store by Applied.
func (s *Store) Record(connector, origin string, p change.Position) topic.Record {
	return topic.Record{Topic: Topic, Timestamp: s.now().UnixMilli(), Key: key(connector, origin), Value: p}
}

// Applied tells that p is durable in the log. A nil p removes the offset.
func (s *Store) Applied(connector, origin string, p change.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == nil {
		delete(s.byID[connector], origin)
		return
	}
	if s.byID[connector] == nil {
		s.byID[connector] = map[string]change.Position{}
	}
	s.byID[connector][origin] = p
}

// Commit makes p the durable position of the connector in the origin; it returns when the log has it. A nil p resets.
func (s *Store) Commit(ctx context.Context, connector, origin string, p change.Position) error {
	if err := s.log.Append(ctx, []topic.Record{s.Record(connector, origin, p)}); err != nil {
		return fmt.Errorf("commit offset of %s: %w", origin, err)
	}
	s.Applied(connector, origin, p)
	return nil
}

// Committed returns the durable position of the connector in the origin, nil if there is none.
func (s *Store) Committed(connector, origin string) change.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[connector][origin]
}

// All returns the connector's offsets sorted by origin.
func (s *Store) All(connector string) []Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Offset, 0, len(s.byID[connector]))
	for origin, p := range s.byID[connector] {
		list = append(list, Offset{origin, p})
	}
	slices.SortFunc(list, func(a, b Offset) int { return strings.Compare(a.Origin, b.Origin) })
	return list
}

// Reset removes all of the connector's offsets in one Append.
func (s *Store) Reset(ctx context.Context, connector string) error {
	var recs []topic.Record
	all := s.All(connector)
	for _, o := range all {
		recs = append(recs, s.Record(connector, o.Origin, nil))
	}
	if len(recs) == 0 {
		return nil
	}
	if err := s.log.Append(ctx, recs); err != nil {
		return fmt.Errorf("reset offsets of %s: %w", connector, err)
	}
	for _, o := range all {
		s.Applied(connector, o.Origin, nil)
	}
	return nil
}

func key(connector, origin string) []byte {
	k, err := json.Marshal([2]string{connector, origin})
	if err != nil {
		panic("offsets: two strings do not marshal: " + err.Error())
	}
	return k
}

func parseKey(k []byte) (connector, origin string, err error) {
	var pair [2]string
	if err := json.Unmarshal(k, &pair); err != nil {
		return "", "", fmt.Errorf("key %q is not an offset's key: %w", k, err)
	}
	return pair[0], pair[1], nil
}

// Lane returns the origin of a topic partition, TOPIC-PARTITION.
func Lane(name string, partition int32) string { return name + "-" + strconv.Itoa(int(partition)) }

// ParseLane takes an origin apart that Lane made.
func ParseLane(origin string) (name string, partition int32, err error) {
	i := strings.LastIndexByte(origin, '-')
	if i < 0 {
		return "", 0, fmt.Errorf("origin %q is not TOPIC-PARTITION", origin)
	}
	n, err := strconv.ParseInt(origin[i+1:], 10, 32)
	if err != nil {
		return "", 0, fmt.Errorf("origin %q is not TOPIC-PARTITION: %w", origin, err)
	}
	return origin[:i], int32(n), nil
}

// LogPosition is the position of a sink in a lane, in the form that Kafka Connect's REST API shows. Epoch tells topics
// of one name apart; Altered marks a position that an operator set, which counts for more than what a sink's own
// ledger says, until the next commit.
type LogPosition struct {
	Offset  int64  `json:"kafka_offset"`
	Epoch   uint32 `json:"epoch,omitempty"`
	Altered bool   `json:"altered,omitempty"`
}

// Position encodes p.
func (p LogPosition) Position() change.Position {
	b := append(make([]byte, 0, 48), `{"kafka_offset":`...)
	b = strconv.AppendInt(b, p.Offset, 10)
	if p.Epoch != 0 {
		b = strconv.AppendUint(append(b, `,"epoch":`...), uint64(p.Epoch), 10)
	}
	if p.Altered {
		b = append(b, `,"altered":true`...)
	}
	return append(b, '}')
}

// ParseLogPosition decodes what LogPosition.Position made, or a body of Kafka Connect's REST API.
func ParseLogPosition(p change.Position) (LogPosition, error) {
	lp := LogPosition{Offset: -1}
	if err := json.Unmarshal(p, &lp); err != nil {
		return lp, fmt.Errorf("position %s: %w", p, err)
	}
	if lp.Offset < 0 {
		return lp, fmt.Errorf("position %s: kafka_offset must be there and not negative", p)
	}
	return lp, nil
}
