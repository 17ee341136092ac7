package binlog

import (
	"encoding/hex"
	"errors"
	"testing"
)

func TestHeader(t *testing.T) {
	for n := range 40 {
		var e Event
		var d Decoder
		var wrong *Error
		if err := d.Decode(make([]byte, n), &e); !errors.As(err, &wrong) {
			t.Errorf("%d zero bytes: %v", n, err)
		}
	}
}

func TestDecimal(t *testing.T) {
	for _, tt := range []struct {
		stored           string
		precision, scale int
		want             string
	}{
		{"810dfb38d204d2", 14, 4, "1234567890.1234"},
		{"7ef204c72dfb2d", 14, 4, "-1234567890.1234"},
		{"80", 2, 0, "0"},
		{"8000", 3, 2, "0.00"},
		{"7fff", 3, 2, "-0.00"},
		{"8064", 3, 2, ""}, // 100 hundredths
	} {
		p, err := hex.DecodeString(tt.stored)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := appendDecimal(nil, p, tt.precision, tt.scale)
		if !ok {
			got = nil
		}
		if string(got) != tt.want {
			t.Errorf("%s: %s, want %s", tt.stored, got, tt.want)
		}
	}
}
