// Opens SRTP packets with stock libsrtp. Arguments: master key and salt, MKI, both hex. Standard input: one packet in
// hex a line. Standard output: the payload of each in hex, or "error N".
#include <srtp2/srtp.h>
#include <stdio.h>
#include <string.h>

static int unhex(const char *s, unsigned char *out) {
	int n = 0;
	for (; s[0] && s[1] && s[0] != '\n'; s += 2, n++)
		if (sscanf(s, "%2hhx", &out[n]) != 1) return -1;
	return n;
}

int main(int argc, char **argv) {
	unsigned char key[64], mki[16], packet[2048];
	char line[8192];
	if (argc != 3 || unhex(argv[1], key) != 28 || srtp_init() != srtp_err_status_ok) return 2;
	srtp_master_key_t master = {.key = key, .mki_id = mki, .mki_size = unhex(argv[2], mki)};
	srtp_master_key_t *masters[] = {&master};
	srtp_policy_t policy;
	memset(&policy, 0, sizeof policy);
	srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
	srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
	policy.ssrc.type = ssrc_any_inbound;
	policy.keys = masters;
	policy.num_master_keys = 1;
	policy.window_size = 128;
	srtp_t session;
	if (srtp_create(&session, &policy) != srtp_err_status_ok) return 3;
	while (fgets(line, sizeof line, stdin)) {
		int len = unhex(line, packet);
		srtp_err_status_t err = srtp_unprotect_mki(session, packet, &len, 1);
		if (err != srtp_err_status_ok) {
			printf("error %d\n", err);
			continue;
		}
		for (int i = 88; i < len; i++) printf("%02x", packet[i]);
		printf("\n");
	}
	return 0;
}
