package speech

import (
	"strings"
	"testing"
	"unicode"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"Kính thưa bà con thôn Đông.", "Kính thưa bà con thôn Đông."},
		{"15h30", "mười lăm giờ ba mươi phút"},
		{"từ 7h-9h30", "từ bảy giờ đến chín giờ ba mươi phút"},
		{"lúc 07:00", "lúc bảy giờ"},
		{"8h00 ngày 20/11/2026", "tám giờ ngày hai mươi tháng mười một năm hai nghìn không trăm hai mươi sáu"},
		{"20/11/2026", "ngày hai mươi tháng mười một năm hai nghìn không trăm hai mươi sáu"},
		{"ngày 1/4", "ngày một tháng tư"},
		{"tháng 4/2026", "tháng tư năm hai nghìn không trăm hai mươi sáu"},
		{"dịp 2/9", "dịp ngày hai tháng chín"},
		{"lễ 30/4", "lễ ngày ba mươi tháng tư"},
		{"2/3 số hộ", "hai phần ba số hộ"},
		{"24/7", "ngày hai mươi bốn tháng bảy"},
		{"Quyết định số 135/QĐ-TTg", "Quyết định số một trăm ba mươi lăm của Thủ tướng Chính phủ"},
		{"Thông tư 39/2020/TT-BTTTT", "Thông tư ba mươi chín năm hai nghìn không trăm hai mươi của Bộ Thông tin và Truyền thông"},
		{"12/QĐ-UBND", "mười hai của Ủy ban nhân dân"},
		{"UBND xã", "Ủy ban nhân dân xã"},
		{"TP.HCM", "thành phố Hồ Chí Minh"},
		{"TP. Hải Phòng", "thành phố Hải Phòng"},
		{"P.3, Q.1", "phường ba, quận một"},
		{"50.000đ", "năm mươi nghìn đồng"},
		{"1.250.000 đồng", "một triệu hai trăm năm mươi nghìn đồng"},
		{"3,5 triệu", "ba phẩy năm triệu"},
		{"3.5 km", "ba phẩy năm ki lô mét"},
		{"0,05%", "không phẩy không năm phần trăm"},
		{"10% hộ", "mười phần trăm hộ"},
		{"120kg", "một trăm hai mươi ki lô gam"},
		{"60 km/h", "sáu mươi ki lô mét một giờ"},
		{"-5°C", "âm năm độ C"},
		{"100 m2 đất", "một trăm mét vuông đất"},
		{"gọi 114", "gọi một một bốn"},
		{"114 hộ", "một trăm mười bốn hộ"},
		{"0225.3842.123", "không hai hai năm, ba tám bốn hai, một hai ba"},
		{"0912 345 678", "không chín một hai, ba bốn năm, sáu bảy tám"},
		{"1800 1234", "một tám không không, một hai ba bốn"},
		{"Đại hội lần thứ XIV", "Đại hội lần thứ mười bốn"},
		{"quý IV", "quý bốn"},
		{"vitamin C", "vitamin C"},
		{"10-15 ngày", "mười đến mười lăm ngày"},
		{"VTV và BHYT", "vê tê vê và bảo hiểm y tế"},
		{"QL5", "quốc lộ năm"},
		{"ĐT.359", "đường tỉnh ba trăm năm mươi chín"},
		{"COVID-19", "COVID-mười chín"},
		{"điện & nước", "điện  và  nước"},
		{"THÔNG BÁO\nMất điện", "THÔNG BÁO.\nMất điện"},
		{"- Một\n- Hai", " Một.\n Hai"},
		{"5 con", "năm con"},
		{"9 g", "chín gam"},
	} {
		if got := Words(c.text); strings.TrimSpace(got) != strings.TrimSpace(c.want) {
			t.Errorf("%q is read %q, want %q", c.text, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for digits, want := range map[string]string{
		"0": "không", "00": "không", "4": "bốn", "10": "mười", "11": "mười một", "15": "mười lăm", "20": "hai mươi",
		"21": "hai mươi mốt", "24": "hai mươi bốn", "25": "hai mươi lăm", "100": "một trăm", "101": "một trăm linh một",
		"105": "một trăm linh năm", "110": "một trăm mười", "115": "một trăm mười lăm", "121": "một trăm hai mươi mốt",
		"1000": "một nghìn", "1005": "một nghìn không trăm linh năm", "1050": "một nghìn không trăm năm mươi",
		"10000": "mười nghìn", "1000000": "một triệu", "1000001": "một triệu không trăm linh một",
		"2026": "hai nghìn không trăm hai mươi sáu", "1000000000": "một tỷ", "1500000000": "một tỷ năm trăm triệu",
		"1234567890123456789": "một hai ba bốn năm sáu bảy tám chín không một hai ba bốn năm sáu bảy tám chín",
	} {
		if got := whole(digits); got != want {
			t.Errorf("%s is read %q, want %q", digits, got, want)
		}
	}
	for text, want := range map[string]int{"I": 1, "IV": 4, "IX": 9, "XIV": 14, "XL": 40, "XCIX": 99, "IIII": 0, "VX": 0, "": 0, "CCC": 300} {
		if got := roman(text); got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
}

func FuzzWords(f *testing.F) {
	for _, text := range []string{"15h30 20/11/2026", "12/QĐ-UBND", "0912 345 678", "50.000đ - 3,5%", "lần thứ XIV", "٣\u0301", "\xff-5°C", "v.v. TP. HCM"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := Words(text)
		if strings.ContainsFunc(words, unicode.IsDigit) {
			t.Errorf("%q leaves a digit: %q", text, words)
		}
		if len(words) > 40*len(text)+40 {
			t.Errorf("%d bytes become %d", len(text), len(words))
		}
	})
}
