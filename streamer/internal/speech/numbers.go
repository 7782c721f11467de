package speech

import "strings"

// The words of numbers as the North of Việt Nam reads them aloud: linh, nghìn, bốn.
var (
	digitWords = [...]string{"không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín"}
	groupWords = [...]string{"", "nghìn", "triệu", "tỷ", "nghìn tỷ", "triệu tỷ"}
)

// mostDigits is the longest whole number that is read as one; longer ones are read digit by digit.
const mostDigits = 3 * len(groupWords)

// whole reads a number of ASCII digits.
func whole(digits string) string {
	digits = strings.TrimLeft(digits, "0")
	switch {
	case digits == "":
		return digitWords[0]
	case len(digits) > mostDigits:
		return spelled(digits)
	}
	var words []string
	groups := (len(digits) + 2) / 3
	digits = strings.Repeat("0", 3*groups-len(digits)) + digits
	for i := range groups {
		group := digits[3*i : 3*i+3]
		if group == "000" {
			continue
		}
		words = append(words, hundreds(group, i > 0))
		if unit := groupWords[groups-1-i]; unit != "" {
			words = append(words, unit)
		}
	}
	return strings.Join(words, " ")
}

// hundreds reads three digits, not all of them 0; within a greater number the leading ones are named too.
func hundreds(d string, within bool) string {
	var words []string
	if d[0] != '0' || within {
		words = append(words, digitWords[d[0]-'0'], "trăm")
	}
	switch {
	case d[1] == '0' && d[2] == '0':
		return strings.Join(words, " ")
	case d[1] == '0' && len(words) > 0:
		words = append(words, "linh")
	case d[1] == '1':
		words = append(words, "mười")
	case d[1] > '1':
		words = append(words, digitWords[d[1]-'0'], "mươi")
	}
	switch {
	case d[2] == '0':
	case d[2] == '1' && d[1] > '1':
		words = append(words, "mốt")
	case d[2] == '5' && d[1] > '0':
		words = append(words, "lăm")
	default:
		words = append(words, digitWords[d[2]-'0'])
	}
	return strings.Join(words, " ")
}

// decimal reads what stands after the comma.
func decimal(digits string) string {
	if len(digits) > 2 || digits[0] == '0' {
		return spelled(digits)
	}
	return whole(digits)
}

// spelled reads digit by digit.
func spelled(digits string) string {
	words := make([]string, 0, len(digits))
	for _, d := range digits {
		if d >= '0' && d <= '9' {
			words = append(words, digitWords[d-'0'])
		}
	}
	return strings.Join(words, " ")
}

// roman is the value of a Roman numeral in its usual form, 0 for anything else.
func roman(text string) (n int) {
	rest := text
	for _, step := range []struct {
		letters string
		value   int
	}{{"C", 100}, {"XC", 90}, {"L", 50}, {"XL", 40}, {"X", 10}, {"IX", 9}, {"V", 5}, {"IV", 4}, {"I", 1}} {
		for most := 3; most > 0 && strings.HasPrefix(rest, step.letters); most-- {
			n += step.value
			rest = rest[len(step.letters):]
			if step.value != 1 && step.value != 10 && step.value != 100 {
				break
			}
		}
	}
	if rest != "" {
		return 0
	}
	return n
}
