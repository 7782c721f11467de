package accounts_test

import (
	"errors"
	"strings"
	"testing"

	"dongthanh/streamer/internal/accounts"
)

func TestCheckPassword(t *testing.T) {
	for password, want := range map[string]error{
		good:                           nil,
		"correct horse battery staple": nil,
		"k7#Qv!x2Lm9z":                 nil,
		"ngựa đúng pin kẹp giấy":       nil,
		"yjmw3hk2vq7p4tza":             nil,

		"":                                accounts.ErrPasswordShort,
		"11 ký tự đó":                     accounts.ErrPasswordShort,
		strings.Repeat("aăâbc", 41):       accounts.ErrPasswordLong,
		strings.Repeat("x", 1<<20):        accounts.ErrPasswordLong,
		"một hai ba\x00bốn":               accounts.ErrPasswordText,
		"một\nhai ba bốn năm":             accounts.ErrPasswordText,
		"\xff\xfe một hai ba bốn năm":     accounts.ErrPasswordText,
		"031185001234":                    accounts.ErrPasswordDigits,
		"0912 345 678 - 1985":             accounts.ErrPasswordDigits,
		"!!!!!!!!!!!!!!!":                 accounts.ErrPasswordDigits,
		"aaaaaaaaaaaaaaa":                 accounts.ErrPasswordCommon,
		"abababababababab":                accounts.ErrPasswordCommon,
		"Password123456":                  accounts.ErrPasswordCommon,
		"P@ssw0rd!2026!!":                 accounts.ErrPasswordCommon,
		"Mật khẩu 123456":                 accounts.ErrPasswordCommon,
		"matkhau@2026!!":                  accounts.ErrPasswordCommon,
		"Admin@123456789":                 accounts.ErrPasswordCommon,
		"QuảnTrịViên2026":                 accounts.ErrPasswordCommon,
		"Truyền thanh xã 1":               accounts.ErrPasswordCommon,
		"Đài truyền thanh 01":             accounts.ErrPasswordCommon,
		"1qaz2wsx3edc4rfv":                accounts.ErrPasswordCommon,
		"qwertyuiop123":                   accounts.ErrPasswordCommon,
		"abcdefghijkl1":                   accounts.ErrPasswordCommon,
		"HaiPhong@123456":                 accounts.ErrPasswordCommon,
		"Nguyen.Van.Binh1990":             accounts.ErrPasswordName,
		"nguyễn văn bình 90":              accounts.ErrPasswordName,
		"NguyenVanBinh NguyenVanBinh 199": accounts.ErrPasswordName,
	} {
		err := accounts.CheckPassword(password, "nguyen.van.binh")
		if !errors.Is(err, want) {
			t.Errorf("CheckPassword(%.40q) = %v, want %v", password, err, want)
		}
		var shown interface{ Message() string }
		if err != nil && (!errors.As(err, &shown) || !strings.HasPrefix(shown.Message(), "Mật khẩu")) {
			t.Errorf("CheckPassword(%.40q) has no message: %v", password, err)
		}
	}
}
