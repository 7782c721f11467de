package config

import "strings"

// suggest returns what may have been meant by an unknown word, as the end of a sentence.
func suggest(word string, known []string) string {
	best, distance := "", 3 // two slips at most; beyond that it is another word
	for _, k := range known {
		if n := slips(strings.ToLower(word), k); n < distance && n < len(k) {
			best, distance = k, n
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(known) == 0:
		return ""
	}
	return "; known here: " + strings.Join(known, ", ")
}

// slips returns the Levenshtein distance of a and b in bytes: keys are ASCII.
func slips(a, b string) int {
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
	return row[len(b)]
}
