package source

import (
	"fmt"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// TopicName returns name with every character that a topic name can't have replaced by an underscore, as Debezium does.
func TopicName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
}

// maxPrefix leaves room in a topic's name of 240 bytes for the longest names of schemas and tables, 64 characters each.
const maxPrefix = 110

// CheckPrefix says what is wrong with a topic.prefix.
func CheckPrefix(prefix string) error {
	switch {
	case prefix != TopicName(prefix):
		return fmt.Errorf("%q has characters that a topic name can't have; use letters, digits, '.', '_' and '-'", prefix)
	case len(prefix) > maxPrefix:
		return fmt.Errorf("is %d characters long; with at most %d the topic of any table has a name that a log can hold", len(prefix), maxPrefix)
	}
	return nil
}

// NameAdjust is schema.name.adjustment.mode and field.name.adjustment.mode.
func NameAdjust(mode string) change.Adjust {
	switch mode {
	case "avro":
		return change.AdjustAvro
	case "avro_unicode":
		return change.AdjustAvroUnicode
	}
	return change.AdjustNone
}

// DecimalRender is decimal.handling.mode.
func DecimalRender(mode string) change.Render {
	switch mode {
	case "string":
		return change.RenderString
	case "double":
		return change.RenderDouble
	}
	return change.RenderDefault
}

// TimeRender is time.precision.mode for values of kind k.
func TimeRender(mode string, k change.Kind) change.Render {
	switch mode {
	case "adaptive_time_microseconds":
		if k == change.Time {
			return change.RenderMicros
		}
	case "connect":
		return change.RenderConnect
	case "isostring":
		return change.RenderISO
	case "microseconds":
		return change.RenderMicros
	case "nanoseconds":
		return change.RenderNanos
	}
	return change.RenderDefault
}

// BinaryRender is binary.handling.mode.
func BinaryRender(mode string) change.Render {
	switch mode {
	case "hex":
		return change.RenderHex
	case "base64":
		return change.RenderBase64
	case "base64-url-safe":
		return change.RenderBase64URL
	}
	return change.RenderDefault
}
