package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Scenario is one folder of testdata. SQL that a scenario lacks is empty.
type Scenario struct {
	Name                            string
	Setup, Stream, Offline, Stream2 string
	Properties                      map[string]string
	Records, Records2               []Record // emitted before and after the restart
	Fails                           bool     // the connector stops with an error: that is the measured result
}

// A Record is what an engine handed over. Members are the text of JsonConverter; nil is null.
type Record struct {
	Topic   string          `json:"topic"`
	Key     json.RawMessage `json:"key"`
	Value   json.RawMessage `json:"value"`
	Headers []Header        `json:"headers"`
}

// A Header is a header of a record.
type Header struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// Load reads the scenarios of a folder, sorted by name.
func Load(dir string) ([]Scenario, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Scenario
	for _, e := range entries {
		s, err := load(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("scenario %s: %w", e.Name(), err)
		}
		list = append(list, s)
	}
	return list, nil
}

func load(dir string) (Scenario, error) {
	s := Scenario{Name: filepath.Base(dir)}
	var errs []error
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return string(b)
	}
	s.Setup, s.Stream, s.Offline, s.Stream2 = read("setup.sql"), read("stream.sql"), read("offline.sql"), read("stream2.sql")
	s.Properties = properties(read("connector.properties"))
	s.Fails = read("EXPECTED_FAILURE.txt") != ""
	var err error
	s.Records, err = ParseRecords([]byte(read("records.jsonl")))
	errs = append(errs, err)
	s.Records2, err = ParseRecords([]byte(read("records2.jsonl")))
	return s, errors.Join(append(errs, err)...)
}

// properties reads a Java properties file of one name=value a line.
func properties(text string) map[string]string {
	props := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			props[name] = strings.ReplaceAll(value, `\\`, `\`)
		}
	}
	return props
}

// Rename returns the scenario in another database: what calls it from is called to in SQL, properties and records.
func (s *Scenario) Rename(from, to string) Scenario {
	r := *s
	for _, text := range []*string{&r.Setup, &r.Stream, &r.Offline, &r.Stream2} {
		*text = strings.ReplaceAll(*text, from, to)
	}
	r.Properties = map[string]string{}
	for name, value := range s.Properties {
		r.Properties[name] = strings.ReplaceAll(value, from, to)
	}
	records := func(recs []Record) []Record {
		list := make([]Record, len(recs))
		rename := func(p json.RawMessage) json.RawMessage { return bytes.ReplaceAll(p, []byte(from), []byte(to)) }
		for i, old := range recs {
			list[i] = Record{Topic: strings.ReplaceAll(old.Topic, from, to), Key: rename(old.Key), Value: rename(old.Value)}
			for _, h := range old.Headers {
				list[i].Headers = append(list[i].Headers, Header{h.Key, rename(h.Value)})
			}
		}
		return list
	}
	r.Records, r.Records2 = records(s.Records), records(s.Records2)
	return r
}

// ParseRecords reads records, one a line. Lines end with a line feed only: values may hold other separators.
func ParseRecords(p []byte) ([]Record, error) {
	var recs []Record
	for line := range bytes.SplitSeq(p, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("record %d: %w", len(recs)+1, err)
		}
		recs = append(recs, r)
	}
	return recs, nil
}

// Statements splits SQL at the semicolons outside of quotation marks, dollar quotes and comments. backslashes says that they
// escape in all quotation marks, as in MySQL, and not only in E'...', as in PostgreSQL.
func Statements(sql string, backslashes bool) []string {
	var list []string
	start := 0
	for i := 0; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == '\'' || c == '"' || c == '`':
			escapes := backslashes && c != '`' || c == '\'' && i > 0 && (sql[i-1] == 'E' || sql[i-1] == 'e')
			for i++; i < len(sql) && sql[i] != c; i++ {
				if escapes && sql[i] == '\\' {
					i++
				}
			}
		case c == '$' && i+1 < len(sql) && sql[i+1] == '$':
			if end := strings.Index(sql[i+2:], "$$"); end >= 0 {
				i += 2 + end + 1
			}
		case c == '-' && strings.HasPrefix(sql[i:], "-- "):
			if end := strings.IndexByte(sql[i:], '\n'); end >= 0 {
				i += end
			}
		case c == ';':
			list = append(list, strings.TrimSpace(sql[start:i]))
			start = i + 1
		}
	}
	if rest := strings.TrimSpace(sql[start:]); rest != "" {
		list = append(list, rest)
	}
	return list
}
