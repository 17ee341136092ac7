package config

import "strings"

func didYouMean(text string, known []string) string {
	if s := Nearest(text, known); s != "" {
		return ": did you mean " + s + "?"
	}
	return ""
}

// Nearest returns the known word that text is most likely a misspelling of, "" if none is near.
func Nearest(text string, known []string) string {
	best, limit := "", max(2, len(text)/4)+1
	for _, k := range known {
		if d := distance(strings.ToLower(text), strings.ToLower(k), limit); d < limit {
			best, limit = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b, limit if it is not below limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}
