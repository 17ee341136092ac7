package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/internal/jsontext"
)

// mgetRows bounds the documents of one _mget: rows are read because they have a large column that did not change.
const mgetRows = 100

type mgetAnswer struct {
	Docs []struct {
		Found  bool            `json:"found"`
		Source json.RawMessage `json:"_source"`
		Error  *reason         `json:"error"`
	} `json:"docs"`
}

// incomplete reports whether columns of the state's row have to be taken from its document.
func (k *Sink) incomplete(n int) bool {
	s := &k.fold.States[n]
	return !s.Deleted && !s.Replace && !s.Row.Complete()
}

// read returns the documents, as JSON objects, of those of the states that are incomplete, by state. A document that is not there
// is not in the map: what the row has is all there is.
func (l *lane) read(ctx context.Context, states []int) (map[int][]byte, error) {
	var old map[int][]byte
	for len(states) > 0 {
		l.body, l.reading = append(l.body[:0], `{"docs":[`...), l.reading[:0]
		for len(states) > 0 && len(l.reading) < mgetRows {
			n := states[0]
			states = states[1:]
			if !l.k.incomplete(n) {
				continue
			}
			if len(l.reading) > 0 {
				l.body = append(l.body, ',')
			}
			l.reading = append(l.reading, n)
			l.body = append(jsontext.AppendText(append(l.body, `{"_index":`...), l.k.places[n].index.name), `,"_id":`...)
			l.body = append(jsontext.AppendString(l.body, l.k.id(n)), '}')
		}
		if len(l.reading) == 0 {
			break
		}
		l.body = append(l.body, "]}"...)
		var got mgetAnswer
		if err := l.k.client.decode(ctx, esapi.MgetRequest{Body: bytes.NewReader(l.body)}, &got); err != nil {
			return nil, err
		}
		if len(got.Docs) != len(l.reading) {
			return nil, fmt.Errorf("elasticsearch answered %d documents of %d", len(got.Docs), len(l.reading))
		}
		if old == nil {
			old = map[int][]byte{}
		}
		for i, d := range got.Docs {
			if d.Error != nil && d.Error.Type != "index_not_found_exception" {
				return nil, fmt.Errorf("elasticsearch can't read document %s of %s: %w", l.k.id(l.reading[i]), l.k.places[l.reading[i]].index.name, d.Error)
			}
			if d.Found && d.Source == nil {
				return nil, fmt.Errorf("index %s keeps no _source, so a row with unchanged columns can't be completed", l.k.places[l.reading[i]].index.name)
			}
			if d.Found {
				old[l.reading[i]] = d.Source
			}
		}
	}
	return old, nil
}

// member returns the value of the member called name of object, a valid JSON object, as it is written there; nil if it
// has none. Of several with the name the last counts, as in Elasticsearch.
func member(object []byte, name string) []byte {
	var found []byte
	p := skipSpace(object)
	if len(p) == 0 || p[0] != '{' {
		return nil
	}
	for p = skipSpace(p[1:]); len(p) > 0 && p[0] == '"'; p = skipSpace(p) {
		key := p[:tokenEnd(p)]
		p = skipSpace(p[len(key):])
		if len(p) == 0 || p[0] != ':' {
			return nil
		}
		p = skipSpace(p[1:])
		value := p[:tokenEnd(p)]
		if len(value) == 0 {
			return nil
		}
		if isName(key, name) {
			found = value
		}
		if p = skipSpace(p[len(value):]); len(p) == 0 || p[0] != ',' {
			break
		}
		p = p[1:]
	}
	return found
}

func isName(key []byte, name string) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return len(key) == len(name)+2 && string(key[1:len(key)-1]) == name
	}
	var s string
	return json.Unmarshal(key, &s) == nil && s == name
}

func skipSpace(p []byte) []byte { return bytes.TrimLeft(p, " \t\r\n") }

// tokenEnd returns the length of the JSON value that p begins with: up to the end of its string, its last bracket, or what
// ends a number or word.
func tokenEnd(p []byte) int {
	depth := 0
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '"':
			for i++; i < len(p) && p[i] != '"'; i++ {
				if p[i] == '\\' {
					i++
				}
			}
			if i >= len(p) {
				return len(p)
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(p)
}
