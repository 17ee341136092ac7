package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/offsets"
)

// offsetBody is one offset as Kafka Connect's API has it.
type offsetBody struct {
	Partition json.RawMessage `json:"partition"`
	Offset    json.RawMessage `json:"offset"`
}

type offsetsBody struct {
	Offsets []offsetBody `json:"offsets"`
}

// sinkPartition and sinkOffset are Kafka Connect's names for a sink's place in a topic.
type sinkPartition struct {
	Partition *int32  `json:"kafka_partition"`
	Topic     *string `json:"kafka_topic"`
}

type sinkOffset struct {
	Offset int64 `json:"kafka_offset"`
}

// sourcePartition is Debezium's name for a source: its topic.prefix.
type sourcePartition struct {
	Server string `json:"server"`
}

type message struct {
	Message string `json:"message"`
}

func (s *Server) offsets(q *request) {
	info, ok := s.find(q)
	if !ok {
		return
	}
	list, err := s.w.Offsets(q.name())
	if err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return
	}
	out := offsetsBody{Offsets: []offsetBody{}}
	for _, o := range list {
		b, err := showOffset(info.Type, o)
		if err != nil {
			q.failed(err, "")
			return
		}
		out.Offsets = append(out.Offsets, b)
	}
	q.answer(http.StatusOK, out)
}

// showOffset gives an offset the form of Kafka Connect. A source's position is shown as it is.
func showOffset(kind string, o offsets.Offset) (offsetBody, error) {
	if kind != "sink" {
		p, err := json.Marshal(sourcePartition{o.Origin})
		return offsetBody{p, json.RawMessage(o.Position)}, err
	}
	topic, partition, err := offsets.ParseLane(o.Origin)
	if err != nil {
		return offsetBody{}, err
	}
	at, err := offsets.ParseLogPosition(o.Position)
	if err != nil {
		return offsetBody{}, err
	}
	p, err1 := json.Marshal(sinkPartition{&partition, &topic})
	n, err2 := json.Marshal(sinkOffset{at.Offset})
	return offsetBody{p, n}, errors.Join(err1, err2)
}

func (s *Server) resetOffsets(q *request) {
	if err := s.w.ResetOffsets(q.r.Context(), q.name()); err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return
	}
	q.answer(http.StatusOK, message{"The offsets for this connector have been reset successfully"})
}

func (s *Server) alterOffsets(q *request) {
	info, ok := s.find(q)
	if !ok {
		return
	}
	var body offsetsBody
	if !q.body(&body) {
		return
	}
	list, err := readOffsets(info.Type, body)
	if err != nil {
		fail(q.w, http.StatusBadRequest, err.Error())
		return
	}
	if err := s.w.AlterOffsets(q.r.Context(), q.name(), list); err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return
	}
	q.answer(http.StatusOK, message{"The offsets for this connector have been altered successfully"})
}

// errorText is a message that is Kafka Connect's, capitals included.
type errorText string

func (e errorText) Error() string { return string(e) }

// readOffsets reads a body of PATCH offsets. A null offset resets its partition.
func readOffsets(kind string, body offsetsBody) ([]offsets.Offset, error) {
	if len(body.Offsets) == 0 {
		return nil, errorText("Partitions / offsets need to be provided for an alter offsets request")
	}
	list := make([]offsets.Offset, len(body.Offsets))
	for i, b := range body.Offsets {
		if b.Partition == nil || isNull(b.Partition) {
			return nil, errorText("Partition objects cannot be null")
		}
		read := readSourceOffset
		if kind == "sink" {
			read = readSinkOffset
		}
		var err error
		if list[i], err = read(b); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func readSinkOffset(b offsetBody) (offsets.Offset, error) {
	var p sinkPartition
	if err := decodeStrictly(b.Partition, &p); err != nil || p.Topic == nil || p.Partition == nil {
		return offsets.Offset{}, errorText("The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'")
	}
	if *p.Topic == "" || *p.Partition < 0 {
		return offsets.Offset{}, errorText("kafka_topic must not be empty and kafka_partition not negative")
	}
	o := offsets.Offset{Origin: offsets.Lane(*p.Topic, *p.Partition)}
	if b.Offset == nil || isNull(b.Offset) {
		return o, nil
	}
	at := sinkOffset{-1}
	if err := decodeStrictly(b.Offset, &at); err != nil || at.Offset < 0 {
		return o, errorText("The offset for a sink connector should be null or contain the key 'kafka_offset', a number that is not negative")
	}
	o.Position = offsets.LogPosition{Offset: at.Offset}.Position()
	return o, nil
}

func readSourceOffset(b offsetBody) (offsets.Offset, error) {
	var p sourcePartition
	if err := decodeStrictly(b.Partition, &p); err != nil || p.Server == "" {
		return offsets.Offset{}, errorText("Partition objects should contain the key 'server': the connector's topic.prefix")
	}
	o := offsets.Offset{Origin: p.Server}
	if b.Offset == nil || isNull(b.Offset) {
		return o, nil
	}
	if text := bytes.TrimSpace(b.Offset); text[0] == '{' {
		o.Position = change.Position(text)
		return o, nil
	}
	return o, errorText("The offset for a source connector should be null or an object")
}

func isNull(p json.RawMessage) bool { return bytes.Equal(bytes.TrimSpace(p), []byte("null")) }
