package speech

// abbreviations of notices of the authorities and how they are read. What is a kind of document is in documents.
var abbreviations = map[string]string{
	"UBND": "Ủy ban nhân dân", "HĐND": "Hội đồng nhân dân", "MTTQ": "Mặt trận Tổ quốc", "UBMTTQ": "Ủy ban Mặt trận Tổ quốc",
	"TTg": "Thủ tướng Chính phủ", "CP": "Chính phủ", "QH": "Quốc hội", "TW": "Trung ương", "TƯ": "Trung ương", "TU": "Tỉnh ủy",
	"BTTTT": "Bộ Thông tin và Truyền thông", "BKHCN": "Bộ Khoa học và Công nghệ", "BVHTTDL": "Bộ Văn hóa, Thể thao và Du lịch",
	"BYT": "Bộ Y tế", "BCA": "Bộ Công an", "BGDĐT": "Bộ Giáo dục và Đào tạo", "BTC": "Bộ Tài chính", "BNV": "Bộ Nội vụ",
	"BNNMT": "Bộ Nông nghiệp và Môi trường", "STTTT": "Sở Thông tin và Truyền thông", "SKHCN": "Sở Khoa học và Công nghệ",
	"PCTT": "phòng chống thiên tai", "TKCN": "tìm kiếm cứu nạn", "PCCC": "phòng cháy chữa cháy", "CNCH": "cứu nạn cứu hộ",
	"CSGT": "cảnh sát giao thông", "ATGT": "an toàn giao thông", "ANTT": "an ninh trật tự", "ATTP": "an toàn thực phẩm",
	"BCH": "ban chỉ huy", "BCĐ": "ban chỉ đạo", "CA": "công an", "NVQS": "nghĩa vụ quân sự",
	"BHYT": "bảo hiểm y tế", "BHXH": "bảo hiểm xã hội", "BHTN": "bảo hiểm thất nghiệp", "CCCD": "căn cước công dân",
	"CMND": "chứng minh nhân dân", "GPLX": "giấy phép lái xe", "VNeID": "vê nờ e ai đi", "DVC": "dịch vụ công",
	"THPT": "trung học phổ thông", "THCS": "trung học cơ sở", "TH": "tiểu học", "MN": "mầm non", "GDĐT": "giáo dục và đào tạo",
	"HTX": "hợp tác xã", "NTM": "nông thôn mới", "KCN": "khu công nghiệp", "TDP": "tổ dân phố", "KDC": "khu dân cư",
	"CLB": "câu lạc bộ", "BQL": "ban quản lý", "TNXP": "thanh niên xung phong", "LHPN": "liên hiệp phụ nữ", "CCB": "cựu chiến binh",
	"ĐTN": "đoàn thanh niên", "TNCS": "thanh niên cộng sản", "SXKD": "sản xuất kinh doanh", "VSMT": "vệ sinh môi trường",
	"QL": "quốc lộ", "TL": "tỉnh lộ", "ĐT": "đường tỉnh", "TTHC": "thủ tục hành chính", "CNTT": "công nghệ thông tin",
	"TP.HCM": "thành phố Hồ Chí Minh", "TP. HCM": "thành phố Hồ Chí Minh", "TPHCM": "thành phố Hồ Chí Minh", "HCM": "Hồ Chí Minh",
	"TP": "thành phố", "TP.": "thành phố", "Tp.": "thành phố", "TX.": "thị xã", "Tx.": "thị xã", "TT.": "thị trấn", "Tt.": "thị trấn",
	"Q.": "quận", "P.": "phường", "H.": "huyện", "X.": "xã", "ĐC:": "địa chỉ:", "SĐT": "số điện thoại", "ĐT:": "điện thoại:",
	"v.v.": "vân vân", "v.v": "vân vân", "VND": "đồng", "VNĐ": "đồng", "KT-XH": "kinh tế xã hội", "QP-AN": "quốc phòng an ninh",
}

// documents are kinds of documents as they stand in numbers such as 12/QĐ-UBND.
var documents = map[string]string{
	"QĐ": "quyết định", "NĐ": "nghị định", "TT": "thông tư", "CT": "chỉ thị", "NQ": "nghị quyết", "KH": "kế hoạch", "TB": "thông báo",
	"CV": "công văn", "BC": "báo cáo", "TTr": "tờ trình", "HD": "hướng dẫn", "CĐ": "công điện", "GM": "giấy mời", "KL": "kết luận",
	"TTLT": "thông tư liên tịch", "PL": "pháp lệnh",
}

// units follow a number.
var units = map[string]string{
	"đ": "đồng", "₫": "đồng", "VNĐ": "đồng", "VND": "đồng", "USD": "đô la Mỹ", "%": "phần trăm", "‰": "phần nghìn",
	"kg": "ki lô gam", "g": "gam", "mg": "mi li gam", "km": "ki lô mét", "m": "mét", "cm": "xen ti mét", "mm": "mi li mét",
	"km2": "ki lô mét vuông", "km²": "ki lô mét vuông", "m2": "mét vuông", "m²": "mét vuông", "m3": "mét khối", "m³": "mét khối",
	"km/h": "ki lô mét một giờ", "km/giờ": "ki lô mét một giờ", "m/s": "mét một giây", "ha": "héc ta", "l": "lít", "ml": "mi li lít",
	"°C": "độ C", "°": "độ", "ºC": "độ C", "kW": "ki lô oát", "kWh": "ki lô oát giờ", "kV": "ki lô vôn",
	"h": "giờ", "tr": "triệu",
}

// letters are the names of letters, for words that can only be spelled.
var letters = map[rune]string{
	'A': "a", 'Ă': "á", 'Â': "ớ", 'B': "bê", 'C': "xê", 'D': "dê", 'Đ': "đê", 'E': "e", 'Ê': "ê", 'F': "ép", 'G': "giê", 'H': "hát",
	'I': "i", 'J': "gi", 'K': "ca", 'L': "e lờ", 'M': "em mờ", 'N': "en nờ", 'O': "o", 'Ô': "ô", 'Ơ': "ơ", 'P': "pê", 'Q': "quy",
	'R': "e rờ", 'S': "ét sì", 'T': "tê", 'U': "u", 'Ư': "ư", 'V': "vê", 'W': "vê kép", 'X': "ích xì", 'Y': "i dài", 'Z': "dét",
}

// dayWords stand before a day; numeralWords before a Roman numeral; callWords before a short telephone number.
var (
	dayWords     = set("ngày", "mùng", "mồng", "hôm", "sáng", "trưa", "chiều", "tối", "đêm", "từ", "đến", "lễ", "dịp", "trước", "sau")
	numeralWords = set("thứ", "khóa", "khoá", "kỳ", "quý", "chương", "kỷ", "lần", "hội", "hạng", "cấp", "loại", "bậc", "đoạn", "phần", "mục", "quận", "tập")
	callWords    = set("số", "gọi", "máy", "nóng", "điện", "thoại", "qua", "hoặc")
	holidays     = set("1/1", "3/2", "8/3", "1/5", "1/6", "2/9", "9/1", "6/1") // days that could be fractions
)

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}
