package rest

import (
	"net/http"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/worker"
)

// TopicInfo is one topic of /tailrace/topics.
type TopicInfo struct {
	Topic      string            `json:"topic"`
	Partitions int               `json:"partitions"`
	Records    int64             `json:"records"`
	Bytes      int64             `json:"bytes"`
	Start      int64             `json:"start"` // of partition 0
	End        int64             `json:"end"`
	Config     map[string]string `json:"config"` // what is not named has the log's defaults
}

// LagInfo is one sink in one partition of /tailrace/lag.
type LagInfo struct {
	Connector  string `json:"connector"`
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Offset     int64  `json:"offset"`
	End        int64  `json:"end"`
	Lag        int64  `json:"lag"`
	Bytes      int64  `json:"bytes"`       // -1: unknown
	AgeMS      int64  `json:"age_ms"`      // of the oldest record that is not read; -1: there is none
	AtRisk     bool   `json:"at_risk"`     // retention will remove records before long that are not read
	LeftBehind bool   `json:"left_behind"` // it has
}

func (s *Server) topicList(q *request) {
	list, err := s.w.TopicList(q.r.Context())
	if err != nil {
		q.failed(err, "")
		return
	}
	out := []TopicInfo{}
	for _, t := range list {
		i := TopicInfo{Topic: t.Name, Partitions: len(t.Partitions), Start: t.Partitions[0].Start, End: t.Partitions[0].End, Config: settingsOf(t.Config)}
		for _, p := range t.Partitions {
			i.Records += p.Records
			i.Bytes += p.Bytes
		}
		out = append(out, i)
	}
	q.answer(http.StatusOK, out)
}

// settingsOf returns config, an empty object rather than null.
func settingsOf(config map[string]string) map[string]string {
	if config == nil {
		return map[string]string{}
	}
	return config
}

// topicConfig answers GET /tailrace/topics/NAME/config: the settings that were made, under Kafka's names.
func (s *Server) topicConfig(q *request) {
	list, err := s.w.TopicList(q.r.Context())
	if err != nil {
		q.failed(err, "")
		return
	}
	for _, t := range list {
		if t.Name == q.name() {
			q.answer(http.StatusOK, settingsOf(t.Config))
			return
		}
	}
	q.failed(topic.ErrNoTopic, "Topic "+q.name()+" not found")
}

// configureTopic answers PUT /tailrace/topics/NAME/config. The body names the settings that change; an empty value gives
// back the default. It answers all settings as they are then.
func (s *Server) configureTopic(q *request) {
	set := map[string]string{}
	if !q.body(&set) {
		return
	}
	config, err := s.w.ConfigureTopic(q.r.Context(), q.name(), set)
	if err != nil {
		q.failed(err, "Topic "+q.name()+" not found")
		return
	}
	q.answer(http.StatusOK, settingsOf(config))
}

func (s *Server) lag(q *request) {
	list, err := s.w.Lag(q.r.Context())
	if err != nil {
		q.failed(err, "")
		return
	}
	out := []LagInfo{}
	for _, l := range list {
		out = append(out, lagInfo(&l))
	}
	q.answer(http.StatusOK, out)
}

func lagInfo(l *worker.Lag) LagInfo {
	return LagInfo{Connector: l.Connector, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, End: l.End, Lag: l.Lag,
		Bytes: l.Bytes, AgeMS: l.AgeMS, AtRisk: l.AtRisk, LeftBehind: l.LeftBehind}
}
