//! Protocols that are recognized by the first bytes of a server: by its greeting, or by the way it
//! rejects a request of another protocol.

/// The protocol of a server that sends `bytes` first, in words; `None` if it is not known.
pub(super) fn greeting(bytes: &[u8]) -> Option<&'static str> {
    name(bytes, GREETINGS)
}

/// The protocol of a server that answers a request of HTTP with `bytes`; also a late greeting.
pub(super) fn answer(bytes: &[u8]) -> Option<&'static str> {
    name(bytes, ANSWERS).or_else(|| greeting(bytes))
}

type Row = (&'static str, fn(&[u8]) -> bool);

fn name(bytes: &[u8], rows: &[Row]) -> Option<&'static str> {
    rows.iter().find(|(_, fits)| fits(bytes)).map(|(name, _)| *name)
}

/// The first row that fits is the protocol.
const GREETINGS: &[Row] = &[
    ("SSH", |bytes| bytes.starts_with(b"SSH-")),
    ("VNC (RFB)", |bytes| bytes.starts_with(b"RFB 00")),
    ("SMTP (mail)", |bytes| bytes.starts_with(b"220") && has(bytes, &[b"SMTP"])),
    ("LMTP (mail)", |bytes| bytes.starts_with(b"220") && has(bytes, &[b"LMTP"])),
    ("FTP", |bytes| bytes.starts_with(b"220") && has(bytes, &[b"FTP", b"FILEZILLA"])),
    ("SMTP or FTP", |bytes| bytes.starts_with(b"220 ") || bytes.starts_with(b"220-")),
    ("POP3 (mail)", |bytes| bytes.starts_with(b"+OK")),
    ("IMAP (mail)", |bytes| {
        [&b"* OK"[..], b"* PREAUTH", b"* BYE"].iter().any(|begin| bytes.starts_with(begin))
    }),
    ("ManageSieve (mail)", |bytes| bytes.starts_with(b"\"IMPLEMENTATION\"")),
    ("NNTP (news)", |bytes| bytes.starts_with(b"200 ") || bytes.starts_with(b"201 ")),
    // A packet of three bytes of length, number 0, protocol 10 or an error.
    ("MySQL or MariaDB", |bytes| {
        matches!(bytes, [_, _, 0, 0, 10, version, ..] if version.is_ascii_digit())
            || matches!(bytes, [_, _, 0, 0, 0xff, ..])
    }),
    // IAC, then WILL, WON'T, DO or DON'T (RFC 854).
    ("Telnet", |bytes| matches!(bytes, [0xff, 0xfb..=0xfe, _, ..])),
    ("rsync", |bytes| bytes.starts_with(b"@RSYNCD:")),
    ("IRC (chat)", |bytes| bytes.starts_with(b":") && has(bytes, &[b" NOTICE ", b" 001 "])),
    ("IRC (chat)", |bytes| bytes.starts_with(b"NOTICE AUTH")),
    ("Subversion", |bytes| bytes.starts_with(b"( success (")),
    ("MPD (music)", |bytes| bytes.starts_with(b"OK MPD ")),
    ("Asterisk manager", |bytes| bytes.starts_with(b"Asterisk Call Manager")),
];

/// Answers to a request of HTTP.
const ANSWERS: &[Row] = &[
    ("Redis", |bytes| {
        [&b"-ERR"[..], b"-DENIED", b"-NOAUTH"].iter().any(|begin| bytes.starts_with(begin))
    }),
    ("memcached", |bytes| bytes.starts_with(b"ERROR\r\n")),
    // An error message of its protocol: E, a length, then the severity.
    ("PostgreSQL", |bytes| matches!(bytes, [b'E', 0, 0, _, b'S', ..])),
    ("SMTP (mail)", |bytes| bytes.starts_with(b"502 5.5.") || bytes.starts_with(b"500 5.5.")),
];

fn has(bytes: &[u8], words: &[&[u8]]) -> bool {
    let upper = bytes.to_ascii_uppercase();
    words.iter().any(|word| upper.windows(word.len()).any(|window| window == *word))
}

/// Returns the time in seconds since 1970 that a server of RFC 868 sent, if it is that.
pub(super) fn rfc868(bytes: &[u8], now: u64) -> bool {
    let Ok(time) = <[u8; 4]>::try_from(bytes) else { return false };
    let since_1970 = u64::from(u32::from_be_bytes(time)).checked_sub(SECONDS_1900_TO_1970);
    since_1970.is_some_and(|time| time.abs_diff(now) < DAY)
}

/// RFC 868 counts from 1900.
const SECONDS_1900_TO_1970: u64 = 2_208_988_800;

/// A clock that differs more is taken for something else.
const DAY: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_named() {
        for (bytes, name) in [
            (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "SSH"),
            (b"220 mail.example ESMTP Postfix\r\n", "SMTP (mail)"),
            (b"220-FileZilla Server 1.8\r\n", "FTP"),
            (b"220 (vsFTPd 3.0.5)\r\n", "FTP"),
            (b"220 ready\r\n", "SMTP or FTP"),
            (b"+OK Dovecot ready.\r\n", "POP3 (mail)"),
            (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", "IMAP (mail)"),
            (b"RFB 003.008\n", "VNC (RFB)"),
            (b"\x4a\0\0\0\x0a8.0.36\0", "MySQL or MariaDB"),
            (b"\xff\xfd\x18\xff\xfd\x20", "Telnet"),
            (b"@RSYNCD: 31.0\n", "rsync"),
            (b":irc.example NOTICE * :*** Looking up your hostname\r\n", "IRC (chat)"),
        ] {
            assert_eq!(greeting(bytes), Some(name), "{bytes:?}");
        }
        for bytes in [&b""[..], b"Welcome!\n", b"HTTP/1.1 200 OK\r\n", b"\xff", b"22"] {
            assert_eq!(greeting(bytes), None, "{bytes:?}");
        }
        assert_eq!(answer(b"-ERR unknown command 'OPTIONS'\r\n"), Some("Redis"));
        assert_eq!(answer(b"SSH-2.0-late\r\n"), Some("SSH"));
    }

    #[test]
    fn the_time_of_rfc_868_is_recognized_by_its_value() {
        let now = 1_700_000_000;
        let sent = u32::try_from(now + SECONDS_1900_TO_1970).unwrap().to_be_bytes();
        assert!(rfc868(&sent, now));
        assert!(!rfc868(&[0; 4], now) && !rfc868(b"abcde", now) && !rfc868(b"", now));
    }
}
