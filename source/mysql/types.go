package mysql

import "strconv"

const (
	microsPerSecond = 1_000_000
	secondsPerDay   = 86_400
)

// appendDate appends days since 1970-01-01 as YYYY-MM-DD. (Algorithm: H. Hinnant, chrono-Compatible Low-Level Date
// Algorithms, civil_from_days.)
func appendDate(dst []byte, days int64) []byte {
	days += 719_468
	era := floorDiv(days, 146_097)
	doe := days - era*146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	month := (mp+2)%12 + 1
	year := yoe + era*400
	if month <= 2 {
		year++
	}
	dst = appendPadded(dst, year, 4)
	dst = appendPadded(append(dst, '-'), month, 2)
	return appendPadded(append(dst, '-'), doy-(153*mp+2)/5+1, 2)
}

// appendTime appends microseconds as HH:MM:SS.ffffff, with a sign and more than two digits of hours where they are needed.
func appendTime(dst []byte, micros int64) []byte {
	if micros < 0 {
		dst, micros = append(dst, '-'), -micros
	}
	seconds := micros / microsPerSecond
	dst = appendPadded(dst, seconds/3600, 2)
	dst = appendPadded(append(dst, ':'), seconds/60%60, 2)
	dst = appendPadded(append(dst, ':'), seconds%60, 2)
	return appendPadded(append(dst, '.'), micros%microsPerSecond, 6)
}

// appendTimestamp appends microseconds since 1970-01-01 as YYYY-MM-DD HH:MM:SS.ffffff.
func appendTimestamp(dst []byte, micros int64) []byte {
	const day = secondsPerDay * microsPerSecond
	days := floorDiv(micros, day)
	return appendTime(append(appendDate(dst, days), ' '), micros-days*day)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func appendPadded(dst []byte, n int64, width int) []byte {
	text := strconv.FormatInt(n, 10)
	for range width - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}
