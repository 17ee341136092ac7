package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// dumpedBytes is a key or value as JSON: text where it is text, else hex, null where it is null.
type dumpedBytes struct {
	Text *string `json:"text,omitempty"`
	Hex  *string `json:"hex,omitempty"`
}

// dumpedHeader is a header of a record as JSON.
type dumpedHeader struct {
	Key   string       `json:"key"`
	Value *dumpedBytes `json:"value"`
}

// dumpedRecord is a record as JSON.
type dumpedRecord struct {
	Offset    int64          `json:"offset"`
	Timestamp int64          `json:"timestamp"`
	Key       *dumpedBytes   `json:"key"`
	Value     *dumpedBytes   `json:"value"`
	Headers   []dumpedHeader `json:"headers,omitempty"`
}

// dumpedBatch is the header of a batch as JSON.
type dumpedBatch struct {
	BaseOffset    int64  `json:"base_offset"`
	LastOffset    int64  `json:"last_offset"`
	Count         int32  `json:"count"`
	Bytes         int    `json:"bytes"`
	BaseTime      int64  `json:"base_time"`
	MaxTime       int64  `json:"max_time"`
	Compression   string `json:"compression"`
	DeleteHorizon bool   `json:"delete_horizon"`
}

// dumpedFrame is the header of a frame of the journal as JSON.
type dumpedFrame struct {
	Position   int64           `json:"position"`
	Synced     int64           `json:"synced"`
	Generation uint32          `json:"generation"`
	Kind       string          `json:"kind"`
	Topic      json.RawMessage `json:"topic,omitempty"` // that was made
	Deleted    *dumpedBytes    `json:"deleted,omitempty"`
}

// dumpedPlace is one line of `log dump -o json`.
type dumpedPlace struct {
	File      string         `json:"file"`
	Position  int64          `json:"position"`
	Topic     string         `json:"topic,omitempty"`
	TopicID   uint32         `json:"topic_id,omitempty"`
	Partition int32          `json:"partition"`
	Frame     *dumpedFrame   `json:"frame,omitempty"`
	Batch     *dumpedBatch   `json:"batch,omitempty"`
	Records   []dumpedRecord `json:"records,omitempty"`
}

// dumper prints places.
type dumper struct {
	w           io.Writer
	json        bool
	headers     bool // no records
	from, until int64
}

func logDumpCommand() *cobra.Command {
	t := &logTool{}
	d := dumper{}
	var partition int32
	c := t.bind(&cobra.Command{Use: "dump FILE|TOPIC", Short: "Print batches and records as they lie in files", Args: cobra.ExactArgs(1),
		Long: "Print the record batches of a segment file, of a journal file (with its frames), or of a topic in the log of --data-dir:\n" +
			"positions in the file, attributes, and records with offsets, timestamps, keys, values and headers. -o json: one object a line.",
		RunE: func(c *cobra.Command, args []string) error {
			d.w, d.json = c.OutOrStdout(), t.out == "json"
			if fi, err := os.Stat(args[0]); err == nil && fi.Mode().IsRegular() {
				return disk.DumpFile(c.Context(), vfs.ReadOnly{}, args[0], d.print)
			}
			in, err := t.inspect(c.Context())
			if err != nil {
				return err
			}
			err = in.Dump(c.Context(), args[0], partition, d.print)
			if errors.Is(err, topic.ErrNoTopic) {
				return fmt.Errorf("%s is no file, and no topic in %s: `tailrace log ls --internal` lists them: %w", args[0], t.dir, err)
			}
			return err
		}})
	c.Flags().Int32Var(&partition, "partition", -1, "of a topic: this partition only")
	c.Flags().Int64Var(&d.from, "from", 0, "records from this offset on")
	c.Flags().Int64Var(&d.until, "until", -1, "records before this offset; -1: all")
	c.Flags().BoolVar(&d.headers, "batches", false, "batches without their records")
	return c
}

// print prints one place.
func (d *dumper) print(p *disk.Place) error {
	records := p.Records[:0:0]
	for _, r := range p.Records {
		if r.Offset >= d.from && (d.until < 0 || r.Offset < d.until) {
			records = append(records, r)
		}
	}
	if p.Batch != nil && len(records) == 0 || p.Batch == nil && (d.from > 0 || d.until >= 0) {
		return nil
	}
	if d.headers {
		records = nil
	}
	if d.json {
		return d.printJSON(p, records)
	}
	return d.printText(p, records)
}

func (d *dumper) printJSON(p *disk.Place, records []topic.Record) error {
	line := dumpedPlace{File: p.File, Position: p.Position, Topic: p.Topic, TopicID: p.TopicID, Partition: p.Part}
	if f := p.Frame; f != nil {
		line.Frame = &dumpedFrame{Position: f.Position, Synced: f.Synced, Generation: f.Generation, Kind: f.Kind}
		if json.Valid(f.Payload) {
			line.Frame.Topic = f.Payload
		} else if f.Payload != nil {
			line.Frame.Deleted = dumped(f.Payload)
		}
	}
	if b := p.Batch; b != nil {
		line.Batch = &dumpedBatch{b.BaseOffset, b.LastOffset(), b.Count, b.Size, b.BaseTime, b.MaxTime, b.Compression.String(), b.DeleteHorizon}
	}
	for _, r := range records {
		out := dumpedRecord{Offset: r.Offset, Timestamp: r.Timestamp, Key: dumped(r.Key), Value: dumped(r.Value)}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, dumpedHeader{strings.ToValidUTF8(h.Key, "\uFFFD"), dumped(h.Value)})
		}
		line.Records = append(line.Records, out)
	}
	enc := json.NewEncoder(d.w)
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}

func (d *dumper) printText(p *disk.Place, records []topic.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d", p.File, p.Position)
	if f := p.Frame; f != nil {
		fmt.Fprintf(&b, " frame %d %s, synced %d, generation %d", f.Position, f.Kind, f.Synced, f.Generation)
		if f.Payload != nil {
			b.WriteString(": " + shown(f.Payload))
		}
		if p.Batch != nil && p.Topic == "" {
			fmt.Fprintf(&b, ", topic number %d/%d", p.TopicID, p.Part)
		}
	}
	if p.Topic != "" {
		fmt.Fprintf(&b, " %s/%d", p.Topic, p.Part)
	}
	if h := p.Batch; h != nil {
		fmt.Fprintf(&b, " batch %d..%d, %d records, %d bytes, %s, %s to %s", h.BaseOffset, h.LastOffset(), h.Count, h.Size, h.Compression,
			stamp(moment(h.BaseTime)), stamp(moment(h.MaxTime)))
		if h.DeleteHorizon {
			b.WriteString(", base time is the delete horizon")
		}
	}
	b.WriteByte('\n')
	for _, r := range records {
		fmt.Fprintf(&b, "  %d %s key=%s value=%s", r.Offset, stamp(moment(r.Timestamp)), shown(r.Key), shown(r.Value))
		for _, h := range r.Headers {
			fmt.Fprintf(&b, " %s:%s", strconv.Quote(h.Key), shown(h.Value))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(d.w, b.String())
	return err
}

// isText reports whether all of b can be shown as it is.
func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return false
		}
	}
	return true
}

// shown is quoted text, or 0x and hex, or null.
func shown(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case isText(b):
		return strconv.Quote(string(b))
	}
	return "0x" + hex.EncodeToString(b)
}

func dumped(b []byte) *dumpedBytes {
	switch {
	case b == nil:
		return nil
	case isText(b):
		s := string(b)
		return &dumpedBytes{Text: &s}
	}
	s := hex.EncodeToString(b)
	return &dumpedBytes{Hex: &s}
}
