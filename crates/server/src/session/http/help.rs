//! `/help`: the exact lines to type, with the host that the client used.

/// What a person who asks from `host` (`name:port`, perhaps empty) can do here.
pub(super) fn text(host: &str) -> String {
    let (name, port) = split(host);
    let host = if host.is_empty() { "HOST:PORT" } else { host };
    let address = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let mut text = TEXT.replace("{host}", host).replace("{name}", name).replace("{port}", port);
    text = text.replace("{address}", &address);
    let width = text.lines().filter_map(|line| line.find(NOTE)).max().unwrap_or_default();
    let aligned = text.lines().map(|line| match line.split_once(NOTE) {
        Some((line, note)) => format!("{line:width$}{note}\n"),
        None => format!("{line}\n"),
    });
    aligned.collect()
}

/// Name and port as programs want them apart: without brackets, and 80 where a URL leaves the port out.
fn split(host: &str) -> (&str, &str) {
    let (name, port) = match host.rsplit_once(':') {
        _ if host.is_empty() => ("HOST", "PORT"),
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "80"),
    };
    (name.trim_matches(['[', ']']), port)
}

/// What stands between a line to type and the word about it.
const NOTE: &str = " #";

const TEXT: &str = "\
This port finds out what you speak: raw TCP, HTTP, WebSocket. Each file lands whole or not at all.

Send a file
  curl -T FILE http://{host}/
  nc -N {name} {port} < FILE #  OpenBSD's nc (Debian, Ubuntu)
  ncat --send-only {name} {port} < FILE #  Nmap's ncat
  nc {name} {port} < FILE #  BusyBox's nc
  nc -q 1 {name} {port} < FILE #  netcat-traditional
  nc -w 3 {name} {port} < FILE #  other nc (GNU, macOS): closes after 3 s of silence
  socat -t 5 - TCP:{address}:{port} < FILE
  websocat -b ws://{host}/files/NAME < FILE
  anyport send FILE {host}

  Raw bytes end where nc closes, or half-closes and waits for the receipt. While it does neither the
  file is not stored, and a minute of silence ends it. A name goes first:
  (echo ANYPORT/1 PUT NAME; cat FILE) | nc -N {name} {port}

See and get files
  curl http://{host}/ #  lists; a directory ends in a slash
  curl -O http://{host}/files/NAME
  curl -C - -O http://{host}/files/NAME #  goes on where it broke off
  anyport get {host}/NAME

Give a file to somebody who waits for it; nothing is stored
  curl -T FILE http://{host}/pipe/KEY #  and there: curl -o FILE http://{host}/pipe/KEY
  (echo ANYPORT/1 PIPE KEY; cat FILE) | nc -N {name} {port} #  or: echo ANYPORT/1 TAKE KEY | nc {name} {port}

Talk to the others in a room, here one called lobby
  nc {name} {port} #  first line: ANYPORT/1 JOIN lobby as YOU
  websocat ws://{host}/rooms/lobby?as=YOU
  curl -N http://{host}/rooms/lobby #  listens
  curl -d TEXT http://{host}/rooms/lobby?as=YOU #  says it
  anyport chat {host}/rooms/lobby --as YOU

And
  curl http://{host}/time #  the time here
  curl --data-binary @FILE http://{host}/echo #  gives it back
  curl http://{host}/healthz
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_apart_as_programs_want_them() {
        assert_eq!(split("files.lan:8331"), ("files.lan", "8331"));
        assert_eq!(split("files.lan"), ("files.lan", "80"));
        assert_eq!(split("[::1]:8331"), ("::1", "8331"));
        assert_eq!(split("[::1]"), ("::1", "80"));
        assert_eq!(split(""), ("HOST", "PORT"));
    }

    #[test]
    fn the_lines_name_the_host_that_was_asked() {
        let text = text("127.0.0.1:8331");
        for line in [
            "curl -T FILE http://127.0.0.1:8331/",
            "nc -N 127.0.0.1 8331 < FILE",
            "ncat --send-only",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }
}
