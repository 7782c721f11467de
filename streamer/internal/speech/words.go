package speech

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// rule turns the beginning of a text into words. before is the word in front of it, in lower case. It says ok only if it
// knows what the match means.
type rule struct {
	begins *regexp.Regexp
	read   func(m []string, before string) (words string, ok bool)
	inside bool // what follows may be a letter or a digit
}

// number has sign, whole part and decimals. A dot parts thousands in Vietnamese, and a comma the decimals; a dot before
// anything but three digits is a foreigner's comma.
const number = `^([-−]?)(\d{1,3}(?:\.\d{3})+|\d+)(?:[,.](\d+))?`

// rules in the order in which they are tried at the beginning of each word.
var rules = []rule{
	{begins: regexp.MustCompile(`^(\d{1,5})(?:/(\d{4}))?/(\p{Lu}[\p{L}]{0,7}(?:[-–]\p{Lu}[\p{L}]{0,11}){0,3})`), read: document},
	{begins: regexp.MustCompile(`^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})`), read: date},
	{begins: regexp.MustCompile(`^(\d{1,2})/(\d{4})`), read: month},
	{begins: regexp.MustCompile(`^(\d{1,4})/(\d{1,4})`), read: dayOrFraction},
	{begins: regexp.MustCompile(`^(?:\+84|0)\d{1,3}(?:[ .-]?\d{3,4}){2}(?:[ .-]?\d{2,3})?`), read: telephone},
	{begins: regexp.MustCompile(`^1[89]00(?:[ .-]?\d{2,4}){1,2}`), read: telephone},
	{begins: regexp.MustCompile(`^11[1-9]`), read: shortNumber},
	{begins: regexp.MustCompile(`^(\d{1,2})(?:h|g|:|giờ)(\d{2})(?:p|ph|phút)?`), read: clock},
	{begins: regexp.MustCompile(number + ` ?(` + alternatives(units) + `)`), read: quantity},
	{begins: regexp.MustCompile(number), read: quantity, inside: true},
	{begins: regexp.MustCompile(`^[IVXLC]{1,7}`), read: numeral},
	{begins: regexp.MustCompile(`^(QL|TL|ĐT)\.?(\d{1,3})`), read: road},
	{begins: regexp.MustCompile(`^(?:\p{L}+[.:](?: ?HCM)?|\p{L}+-\p{L}+|v\.v\.?)`), read: abbreviation, inside: true},
	{begins: regexp.MustCompile(`^\p{L}+`), read: abbreviation},
	{begins: regexp.MustCompile(`^\p{Lu}{2,5}`), read: initials},
}

// between joins the two ends of a range.
var between = regexp.MustCompile(`^ ?[-–—] ?(\d)`)

// Words puts a text into words as they are read aloud in Vietnamese: dates, hours, sums, units, telephone and document
// numbers, Roman numerals and the abbreviations of public notices. What it does not know it leaves as it is; no
// decimal digit is left.
func Words(text string) string {
	var out strings.Builder
	before, last := "", ' '
	for len(text) > 0 {
		first, size := utf8.DecodeRuneInString(text)
		if !unicode.IsLetter(last) && !unicode.IsDigit(last) && !unicode.IsMark(last) {
			if words, rest, ok := begin(text, before, last); ok {
				out.WriteString(words)
				before, last = lastWord(words), 'a'
				if next, _ := utf8.DecodeRuneInString(rest); text[len(text)-len(rest)-1] == '.' && (unicode.IsLetter(next) || unicode.IsDigit(next)) {
					out.WriteByte(' ') // P.3
					last = ' '
				}
				if m := between.FindStringSubmatchIndex(rest); m != nil {
					out.WriteString(" đến ")
					before, last, rest = "đến", ' ', rest[m[2]:]
				}
				text = rest
				continue
			}
		}
		switch {
		case unicode.IsLetter(first) || unicode.IsMark(first):
			end := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) })
			if end < 0 {
				end = len(text)
			}
			out.WriteString(text[:end])
			before, last, text = strings.ToLower(text[:end]), 'a', text[end:]
			continue
		case unicode.IsDigit(first):
			if first <= '9' {
				out.WriteString(" " + digitWords[first-'0'] + " ")
			}
			first = ' '
		default:
			out.WriteString(symbol(first, last))
		}
		if !unicode.IsSpace(first) {
			before = ""
		}
		last, text = first, text[size:]
	}
	return out.String()
}

// begin tries the rules at the beginning of text.
func begin(text, before string, last rune) (words, rest string, ok bool) {
	for _, r := range rules {
		m := r.begins.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		rest := text[len(m[0]):]
		if next, _ := utf8.DecodeRuneInString(rest); !r.inside && (unicode.IsLetter(next) || unicode.IsDigit(next) || unicode.IsMark(next)) {
			continue
		}
		if m[0][0] == '-' && !unicode.IsSpace(last) {
			continue
		}
		if words, ok := r.read(m, before); ok {
			return words, rest, true
		}
	}
	return "", "", false
}

// symbol is how a sign between words is read.
func symbol(r, last rune) string {
	switch {
	case r == '&':
		return " và "
	case r == '+':
		return " cộng "
	case r == '/':
		return ", "
	case r == '\n' && unicode.IsLetter(last): // a heading without a full stop
		return ".\n"
	case strings.ContainsRune("-–—*•_#|", r) && unicode.IsSpace(last): // of a list
		return ""
	case unicode.IsControl(r) && !unicode.IsSpace(r):
		return " "
	}
	return string(r)
}

// alternatives is a pattern of all keys, longer ones first.
func alternatives(table map[string]string) string {
	keys := slices.SortedFunc(maps.Keys(table), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for i, k := range keys {
		keys[i] = regexp.QuoteMeta(k)
	}
	return strings.Join(keys, "|")
}

func lastWord(words string) string {
	return strings.ToLower(words[strings.LastIndexByte(words, ' ')+1:])
}

// document reads 12/QĐ-UBND, where the kind has been said before: số mười hai của Ủy ban nhân dân.
func document(m []string, _ string) (string, bool) {
	words := whole(m[1])
	if m[2] != "" {
		words += " năm " + whole(m[2])
	}
	var bodies []string
	for i, part := range strings.FieldsFunc(m[3], func(r rune) bool { return r == '-' || r == '–' }) {
		if _, kind := documents[part]; kind && i == 0 {
			continue
		}
		body, known := abbreviations[part]
		if !known {
			body = spell(part)
		}
		bodies = append(bodies, body)
	}
	if len(bodies) > 0 {
		words += " của " + strings.Join(bodies, ", ")
	}
	return words, true
}

func date(m []string, before string) (string, bool) {
	words, ok := day(m[1], m[2], before)
	return words + " năm " + whole(m[3]), ok
}

// day reads a day of a month; ok is false if there is none such.
func day(d, m, before string) (string, bool) {
	if n, _ := strconv.Atoi(d); n < 1 || n > 31 {
		return "", false
	}
	if n, _ := strconv.Atoi(m); n < 1 || n > 12 {
		return "", false
	}
	words := whole(d) + " tháng " + monthName(m)
	if before != "ngày" && before != "mùng" && before != "mồng" {
		words = "ngày " + words
	}
	return words, true
}

// monthName: the fourth month is tháng tư.
func monthName(m string) string {
	if n, _ := strconv.Atoi(m); n == 4 {
		return "tư"
	}
	return whole(m)
}

func month(m []string, before string) (string, bool) {
	if n, _ := strconv.Atoi(m[1]); n < 1 || n > 12 {
		return "", false
	}
	words := monthName(m[1]) + " năm " + whole(m[2])
	if before != "tháng" {
		words = "tháng " + words
	}
	return words, true
}

// dayOrFraction: 20/11 is a day, 2/3 a part of something; 2/9 and the like are holidays.
func dayOrFraction(m []string, before string) (string, bool) {
	a, _ := strconv.Atoi(m[1])
	b, _ := strconv.Atoi(m[2])
	if dayWords[before] || a > b || holidays[m[0]] {
		if words, ok := day(m[1], m[2], before); ok {
			return words, true
		}
	}
	if b == 0 || a > b {
		return whole(m[1]) + " trên " + whole(m[2]), true
	}
	return whole(m[1]) + " phần " + whole(m[2]), true
}

func telephone(m []string, _ string) (string, bool) {
	number := m[0]
	if rest, abroad := strings.CutPrefix(number, "+"); abroad {
		return "cộng " + spelled(rest), true
	}
	if n := len(strings.Map(digitsOnly, number)); n < 8 || n > 11 {
		return "", false
	}
	var groups []string
	for _, g := range strings.FieldsFunc(number, func(r rune) bool { return r < '0' }) {
		groups = append(groups, spelled(g))
	}
	return strings.Join(groups, ", "), true
}

func digitsOnly(r rune) rune {
	if r < '0' || r > '9' {
		return -1
	}
	return r
}

// shortNumber is 113 and its neighbours where one is told to call them.
func shortNumber(m []string, before string) (string, bool) { return spelled(m[0]), callWords[before] }

func clock(m []string, _ string) (string, bool) {
	hour, _ := strconv.Atoi(m[1])
	minute, _ := strconv.Atoi(m[2])
	if hour > 24 || minute > 59 {
		return "", false
	}
	if minute == 0 {
		return whole(m[1]) + " giờ", true
	}
	return whole(m[1]) + " giờ " + whole(m[2]) + " phút", true
}

// quantity reads a number, with what it counts if that is a unit.
func quantity(m []string, _ string) (string, bool) {
	words := whole(strings.ReplaceAll(m[2], ".", ""))
	if m[3] != "" {
		words += " phẩy " + decimal(m[3])
	}
	if m[1] != "" {
		words = "âm " + words
	}
	if len(m) > 4 {
		words += " " + units[m[4]]
	}
	return words, true
}

func numeral(m []string, before string) (string, bool) {
	n := roman(m[0])
	if n == 0 || !numeralWords[before] {
		return "", false
	}
	return whole(strconv.Itoa(n)), true
}

// road: QL5.
func road(m []string, _ string) (string, bool) { return abbreviations[m[1]] + " " + whole(m[2]), true }

func abbreviation(m []string, before string) (string, bool) {
	words, known := abbreviations[m[0]]
	if !known {
		words, known = documents[m[0]]
		known = known && utf8.RuneCountInString(m[0]) > 1 && before == "số"
	}
	return words, known
}

// initials spells a word of capitals that cannot be spoken, such as VTV.
func initials(m []string, _ string) (string, bool) {
	if strings.ContainsFunc(m[0], func(r rune) bool { return strings.ContainsRune("AEIOUYĂÂÊÔƠƯ", r) || r > 'Ư' }) {
		return "", false
	}
	return spell(m[0]), true
}

func spell(word string) string {
	names := make([]string, 0, len(word))
	for _, r := range strings.ToUpper(word) {
		if name, known := letters[r]; known {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}
