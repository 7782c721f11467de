// Package seal encrypts and decrypts the payload of media packets: SRTP AEAD_AES_128_GCM (RFC 7714) under a group
// key. The streamer and the loudspeakers use it; a relay never imports it, since a relay holds no media key.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"dongthanh/internal/seq"
)

const (
	keyLen   = 16
	saltLen  = 12
	nonceLen = 12

	// SecretLen is the size of a zone's secret.
	SecretLen = 32
)

// ErrTag is returned for a packet whose GCM tag does not hold. It is one value, since it may happen once a packet.
var ErrTag = errors.New("authentication tag does not hold")

// Key seals and opens the packets of one transmission. It is safe for concurrent use.
type Key struct {
	block cipher.Block
	aead  cipher.AEAD
	salt  [saltLen]byte
}

// Derive makes a transmission's key from the secret of its key zone and epoch:
//
//	HKDF-SHA-256(secret, info = "dongthanh media v1" ‖ transmission id ‖ SSRC ‖ fence) → SRTP master key ‖ master salt
//
// followed by SRTP's own key derivation (RFC 3711 §4.3). The transmission id is random for each incarnation of a
// streamer, so a restarted one cannot use a nonce twice.
func Derive(secret [SecretLen]byte, transmission [16]byte, ssrc uint32, fence uint64) (*Key, error) {
	master, err := Master(secret, transmission, ssrc, fence)
	if err != nil {
		return nil, err
	}
	return fromMaster(master[:keyLen], master[keyLen:])
}

// Master returns the SRTP master key (16 bytes) and master salt (12 bytes), as stock SRTP libraries take them.
func Master(secret [SecretLen]byte, transmission [16]byte, ssrc uint32, fence uint64) ([]byte, error) {
	info := append([]byte("dongthanh media v1"), transmission[:]...)
	info = binary.BigEndian.AppendUint32(info, ssrc)
	info = binary.BigEndian.AppendUint64(info, fence)
	master, err := hkdf.Key(sha256.New, secret[:], nil, string(info), keyLen+saltLen)
	if err != nil {
		return nil, fmt.Errorf("derive media key: %w", err)
	}
	return master, nil
}

// Labels of RFC 3711 §4.3.2.
const (
	labelEncryption = 0x00
	labelSalt       = 0x02
)

func fromMaster(key, salt []byte) (*Key, error) {
	prf, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("media key: %w", err)
	}
	session := sessionBytes(prf, salt, labelEncryption)
	block, err := aes.NewCipher(session[:])
	if err != nil {
		return nil, fmt.Errorf("media key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("media key: %w", err)
	}
	k := &Key{block: block, aead: aead}
	sessionSalt := sessionBytes(prf, salt, labelSalt)
	copy(k.salt[:], sessionSalt[:])
	return k, nil
}

// sessionBytes is one block of SRTP's AES-CM key derivation with a key derivation rate of 0 (RFC 3711 §4.3.1); the
// 96-bit salt stands left in the block (RFC 7714 §11).
func sessionBytes(prf cipher.Block, salt []byte, label byte) (out [keyLen]byte) {
	var in [16]byte
	copy(in[:], salt)
	in[7] ^= label
	prf.Encrypt(out[:], in[:])
	return out
}

// nonce is RFC 7714 §8.1: 0x0000 ‖ SSRC ‖ ROC ‖ SEQ, XOR the salt.
func (k *Key) nonce(ssrc uint32, i seq.Index) (n [nonceLen]byte) {
	binary.BigEndian.PutUint32(n[2:], ssrc)
	binary.BigEndian.PutUint32(n[6:], i.ROC())
	binary.BigEndian.PutUint16(n[10:], uint16(i.Seq()))
	for j := range n {
		n[j] ^= k.salt[j]
	}
	return n
}

// Encrypt writes the ciphertext of plain to dst[:len(plain)], without a tag: the sender signs it before the header,
// and so the tag, is final. It is GCM's counter mode from its second block on, so that Seal gives the same bytes and
// no second tag under one nonce ever exists.
func (k *Key) Encrypt(dst, plain []byte, ssrc uint32, i seq.Index) {
	var counter [aes.BlockSize]byte
	n := k.nonce(ssrc, i)
	copy(counter[:], n[:])
	counter[aes.BlockSize-1] = 2
	cipher.NewCTR(k.block, counter[:]).XORKeyStream(dst[:len(plain)], plain)
}

// Seal appends ciphertext and tag of plain to dst; header is the additional data. An index is sealed once only.
func (k *Key) Seal(dst, header, plain []byte, ssrc uint32, i seq.Index) []byte {
	n := k.nonce(ssrc, i)
	return k.aead.Seal(dst, n[:], plain, header)
}

// Open appends the plain payload of sealed (ciphertext and tag) to dst. The error is ErrTag.
func (k *Key) Open(dst, header, sealed []byte, ssrc uint32, i seq.Index) ([]byte, error) {
	n := k.nonce(ssrc, i)
	plain, err := k.aead.Open(dst, n[:], sealed, header)
	if err != nil {
		return nil, ErrTag
	}
	return plain, nil
}
