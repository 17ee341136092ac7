package elasticsearch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// maxName is Elasticsearch's limit for the name of an index, in bytes.
const maxName = 255

// index is where the rows of one topic go.
type index struct {
	name  string
	put   []byte        // the line of an index action up to the id
	del   []byte        // the line of a delete action up to the id
	table *change.Table // the version of the table that the mapping has, nil: none
	ours  bool          // the sink made it and keeps its mapping
	// marked reports that the mapping has partitionField.
	marked bool
}

// partitionField tells which partition of the topic a document came from; documents of the first have no such field. A truncate
// concerns the documents of its own partition only, and versions of different partitions can't be compared. It can't be left out of
// _source: a node that has to filter a document writes its numbers anew, as doubles.
const partitionField = "_tailrace_partition"

const partitionMapping = `"` + partitionField + `":{"type":"integer"}`

func newIndex(name string) *index {
	quoted := string(jsontext.AppendText(nil, name))
	return &index{name: name, put: []byte(`{"index":{"_index":` + quoted + `,"_id":`), del: []byte(`{"delete":{"_index":` + quoted + `,"_id":`)}
}

// indexName makes the name of a topic's index: lower case, what Elasticsearch refuses becomes _, a name that is too long
// ends in a hash of the topic.
func indexName(prefix, topic, suffix string) string {
	name := sanitize(prefix + topic + suffix)
	if name == "." || name == ".." || name == "" || strings.ContainsAny(name[:1], "-_+") {
		name = "t" + name
	}
	if len(name) > maxName {
		h := sha256.Sum256([]byte(topic))
		tail := "-" + hex.EncodeToString(h[:8])
		cut := maxName - len(tail)
		for !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + tail
	}
	return name
}

func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7F || r == utf8.RuneError || strings.ContainsRune(`\/*?"<>|,#:`, r) {
			return '_'
		}
		return r
	}, strings.ToLower(name))
}

// index returns the index of the event's topic, made and mapped for the event's table.
func (k *Sink) index(ctx context.Context, topic string, t *change.Table) (*index, error) {
	x := k.indexes[topic]
	if x == nil {
		name := k.cfg.Mapped[topic]
		if name == "" {
			name = indexName(k.cfg.Prefix, topic, k.cfg.Suffix)
		}
		x = newIndex(name)
	}
	if x.table == t && (k.partition == 0 || x.marked || k.cfg.IgnSchema) {
		return x, nil
	}
	if !k.cfg.IgnSchema {
		if err := k.prepare(ctx, x, topic, t); err != nil {
			return nil, fmt.Errorf("index %s: %w", x.name, err)
		}
	}
	x.table = t
	k.indexes[topic] = x
	return x, nil
}

// prepare makes the index, or maps those columns of t that an index of our own does not have. The mapping of an index
// that somebody else made is theirs.
func (k *Sink) prepare(ctx context.Context, x *index, topic string, t *change.Table) error {
	if x.table != nil && !x.ours {
		return k.mark(ctx, x)
	}
	if x.table == nil {
		_, err := k.client.do(ctx, esapi.IndicesCreateRequest{Index: x.name, Body: bytes.NewReader(k.creation(topic, t))})
		if err == nil {
			x.ours, x.marked = true, true
			return nil
		}
		if !exists(err) {
			return unfit(err, "correct index.settings or the template that matches the index, or name another index by topic.to.external.resource.mapping")
		}
	}
	mapped, ours, err := k.mapping(ctx, x, topic)
	if err != nil {
		return err
	}
	_, x.marked = mapped[partitionField]
	if !ours {
		return k.mark(ctx, x)
	}
	x.ours = true
	if body := k.properties(t, mapped); body != nil {
		if err := k.putMapping(ctx, x, body); err != nil {
			return err
		}
	}
	x.marked = true
	return nil
}

// mark maps the partition field in an index that somebody else made, once documents of a second partition come.
func (k *Sink) mark(ctx context.Context, x *index) error {
	if k.partition == 0 || x.marked {
		return nil
	}
	if err := k.putMapping(ctx, x, []byte(`{"properties":{`+partitionMapping+`}}`)); err != nil {
		return err
	}
	x.marked = true
	return nil
}

func (k *Sink) putMapping(ctx context.Context, x *index, body []byte) error {
	_, err := k.client.do(ctx, esapi.IndicesPutMappingRequest{Index: []string{x.name}, Body: bytes.NewReader(body)})
	return unfit(err, "raise the index's limit (index.mapping.total_fields.limit), leave columns out with column.exclude.list, or write into a new index")
}

// unfit makes a refusal that no retry cures to one that says so.
func unfit(err error, remedy string) error {
	if statusOf(err) == http.StatusBadRequest {
		return fault.Permanent("INDEX_REFUSED", remedy, err)
	}
	return err
}

// exists reports whether an index could not be made because it, or an alias or data stream of its name, is there.
func exists(err error) bool {
	text := err.Error()
	return strings.Contains(text, "resource_already_exists_exception") || strings.Contains(text, "already exists as")
}

// mapping returns the fields that an index has, and whether the sink made it. It refuses what can't be kept equal to a table: a
// data stream, and an alias of several indexes, where a row would be in one and its change in the next.
func (k *Sink) mapping(ctx context.Context, x *index, topic string) (map[string]json.RawMessage, bool, error) {
	var got map[string]struct {
		Mappings struct {
			Meta struct {
				Topic string `json:"tailrace_topic"`
			} `json:"_meta"`
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"mappings"`
	}
	if err := k.client.decode(ctx, esapi.IndicesGetMappingRequest{Index: []string{x.name}}, &got); err != nil {
		return nil, false, err
	}
	if len(got) > 1 {
		return nil, false, fault.Permanentf("INDEX_SEVERAL", "name one index by topic.to.external.resource.mapping, and let no rollover (ILM) touch it",
			"%s is an alias of %d indexes: a change of a row would be written beside its older version", x.name, len(got))
	}
	for name, g := range got {
		if strings.HasPrefix(name, ".ds-") {
			return nil, false, fault.Permanentf("DATA_STREAM", "name an index by topic.to.external.resource.mapping",
				"%s is a data stream, which takes no updates or deletes", x.name)
		}
		switch made := g.Mappings.Meta.Topic; {
		case made == "":
			return g.Mappings.Properties, false, nil
		case made != topic:
			return nil, false, fault.Permanentf("INDEX_CONFLICT", "give one of the topics another index by topic.to.external.resource.mapping",
				"the index holds the topic %s; %s would mix its rows with those", made, topic)
		default:
			return g.Mappings.Properties, true, nil
		}
	}
	return nil, false, nil
}

// creation is the body that makes an index. Its _meta says which topic it belongs to.
func (k *Sink) creation(topic string, t *change.Table) []byte {
	dst := append([]byte(nil), `{"settings":{"index.gc_deletes":`...)
	dst = jsontext.AppendText(dst, k.cfg.GCDeletes)
	// Each column has at most two fields, and the table may still grow.
	dst = append(dst, `,"index.mapping.total_fields.limit":`...)
	dst = strconv.AppendInt(dst, int64(max(1000, 2*len(t.Columns)+1000)), 10)
	if more := strings.TrimSpace(k.cfg.Settings); len(more) > 2 && strings.TrimSpace(more[1:len(more)-1]) != "" {
		dst = append(append(dst, ','), more[1:len(more)-1]...)
	}
	dst = append(dst, `},"mappings":{"date_detection":false,"_meta":{"tailrace_topic":`...)
	dst = append(jsontext.AppendText(dst, topic), "},"...)
	return append(append(dst, k.properties(t, nil)[1:]...), '}')
}

// properties is the body that maps those columns of t that are not mapped, nil if there are none.
func (k *Sink) properties(t *change.Table, mapped map[string]json.RawMessage) []byte {
	dst := append([]byte(nil), `{"properties":{`...)
	empty := true
	for i := range t.Columns {
		c := &t.Columns[i]
		if _, ok := mapped[c.Name]; ok {
			continue
		}
		if !empty {
			dst = append(dst, ',')
		}
		empty = false
		dst = append(jsontext.AppendKey(dst, c.Name), k.field(&c.Type)...)
	}
	if _, ok := mapped[partitionField]; !ok {
		if !empty {
			dst = append(dst, ',')
		}
		empty = false
		dst = append(dst, partitionMapping...)
	}
	if empty && mapped != nil {
		return nil
	}
	return append(dst, "}}"...)
}

// field is the mapping of a type. Those of our own choice refuse no value: what can't be indexed (a date before Christ, NaN,
// a number of 400 digits, an integer beyond 64 bits with sign) is in the document and only not found by a search.
func (k *Sink) field(t *change.Type) string {
	const word, kept = `{"type":"keyword","ignore_above":8191}`, `{"type":"keyword","index":false,"doc_values":false}`
	switch t.Semantic {
	case change.SemanticEnum, change.SemanticSet, change.SemanticBits, change.SemanticInterval, change.SemanticTimeTZ, change.SemanticLTree, change.SemanticPoint:
		return word
	case change.SemanticGeometry, change.SemanticGeography, change.SemanticVector, change.SemanticFloatVector, change.SemanticSparseVector:
		return kept // nobody searches for their digits
	}
	switch t.Kind {
	case change.Bool:
		return `{"type":"boolean","ignore_malformed":true}`
	case change.Int, change.Uint:
		return `{"type":"long","ignore_malformed":true}`
	case change.Float32, change.Float64, change.Decimal:
		return `{"type":"double","ignore_malformed":true}`
	case change.Date, change.Timestamp, change.TimestampTZ:
		return `{"type":"date","ignore_malformed":true}`
	case change.UUID, change.Time:
		return word
	case change.Bytes:
		return kept
	case change.JSON:
		return map[string]string{
			"stored":    `{"type":"object","enabled":false}`,
			"flattened": `{"type":"flattened","ignore_above":8191}`,
			"dynamic":   `{"type":"object"}`,
		}[k.cfg.JSONAs]
	case change.Array:
		if t.Elem != nil {
			return k.field(t.Elem)
		}
		return `{"type":"object","enabled":false}`
	default:
		return `{"type":"text","fields":{"keyword":{"type":"keyword","ignore_above":256}}}`
	}
}
